//! Consumer groups by the real binary: what operators see and do, and that a kill costs a group nothing.

use std::time::Duration;

use sealstream_client::wire::Session;
use sealstream_client::wire::session::{hello, open};
use sealstream_protocol::message::Message;
use sealstream_protocol::message::group::{
    Assignment, Commit, Committed, Heartbeat, JoinGroup, LeaveGroup, Progress,
};
use sealstream_protocol::message::hello::SessionKind;
use sealstream_protocol::{ALPN, DEFAULT_PORT, Limits};
use sealstream_transport::tls::{Material, Store, TrustSource};
use sealstream_transport::{Connector, Endpoint, Expectation, Outbound, Scheme, Server, TransportOptions};
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{House, PATIENCE, feed};

/// A member of a group, and what it was assigned.
struct Member {
    session: Session,
    has: Vec<Assignment>,
    /// Held while the session lasts.
    _connection: Box<dyn Outbound>,
}

impl Member {
    async fn join(house: &House, port: u16, id: Uuid) -> Self {
        let ca = TrustSource::File(house.path("sealstream-data/dev-ca/ca.pem"));
        let trust = Store::new(&Material::new().with_roots([ca])).unwrap();
        let options = TransportOptions::new(ALPN, DEFAULT_PORT);
        let endpoint = Endpoint { scheme: Scheme::Tls, host: "localhost".into(), port };
        let server = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
        let connection = Connector::new(&trust.receiver(), &options).connect(&server).await.unwrap();
        let hello = hello(SessionKind::Group, "a test".into(), Duration::from_mins(1));
        let stream = connection.open().await.unwrap();
        let session = open(stream, hello, Limits::MAX_FRAME, PATIENCE).await.unwrap();
        let mut member = Self { session, has: Vec::new(), _connection: connection };
        member
            .say(Message::JoinGroup(JoinGroup { group: "g".into(), member: id, topics: vec!["t".into()] }))
            .await;
        assert!(matches!(member.hear().await, Message::Joined(_)));
        let Message::Assign(assign) = member.hear().await else { panic!("an Assign was due") };
        member.has = assign.assignments;
        member
    }

    async fn say(&mut self, message: Message) {
        self.session.writer.feed(&message);
        self.session.writer.flush().await.unwrap();
    }

    async fn hear(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.session.reader.next()).await.unwrap().unwrap().unwrap()
    }

    /// Partitions with their epochs and committed offsets.
    fn view(&self) -> Vec<(u32, u32, Option<u64>)> {
        let view = |has: &Assignment| (has.at.partition, has.epoch, has.committed.map(|(offset, _)| offset));
        self.has.iter().map(view).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_and_move_a_group_and_a_kill_of_the_broker_costs_it_nothing() {
    let house = House::new();
    let mut broker = house.serve();
    let (port, url) = (broker.port, broker.tls());
    house.run(["topic", "create", "t", "--partitions", "2", "--url", &url]).ok();
    feed(house.command(["produce", "t", "--partition", "1", "--url", &url]), b"a\nb\nc\n".to_vec()).ok();
    assert!(house.run(["group", "list", "--url", &url]).stderr.contains("no groups"));
    let failure = house.run(["group", "describe", "g", "--url", &url]).failed();
    assert!(failure.contains("unknown-group") && failure.contains("made by its first member"), "{failure}");

    let id = Uuid::new_v4();
    let mut member = Member::join(&house, port, id).await;
    let at = member.has[1].clone();
    let progress = vec![Progress { at: at.at.clone(), epoch: at.epoch, offset: 2, log_epoch: 1 }];
    member.say(Message::Commit(Commit { request: 1, progress })).await;
    assert_eq!(member.hear().await, Message::Committed(Committed { request: 1, refused: vec![] }));

    let listed = house.run(["group", "list", "--url", &url]).ok();
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1], ["g", "1", "2", "-"], "{listed}");
    let shown = described(&house, &url);
    let partition = &shown["partitions"][1];
    let numbers = ["committed", "end", "lag", "epoch"].map(|key| partition[key].as_u64());
    assert_eq!(numbers, [Some(2), Some(3), Some(1), Some(at.epoch.into())]);
    assert_eq!(partition["owner"], id.to_string());
    assert_eq!(
        (&shown["members"][0]["client"], &shown["members"][0]["connected"]),
        (&"a test".into(), &true.into())
    );
    let seek = ["group", "seek", "g", "t", "--to", "beginning", "--url", &url];
    let failure = house.run(seek).failed();
    assert!(failure.contains("group-in-use") && failure.contains("force"), "{failure}");

    let view = member.view();
    broker.process.kill();
    let broker = house.serve_on(&format!("127.0.0.1:{port}"));
    let shown = described(&house, &url);
    assert_eq!(shown["members"][0]["connected"], false);
    assert_eq!(shown["partitions"][1]["committed"], 2);
    let mut member = Member::join(&house, port, id).await;
    let expected: Vec<_> =
        view.into_iter().map(|(index, epoch, _)| (index, epoch, (index == 1).then_some(2))).collect();
    assert_eq!(member.view(), expected);
    member.say(Message::LeaveGroup(LeaveGroup {})).await;
    assert!(matches!(member.hear().await, Message::Left(_)));

    let sought = house.run(seek).ok();
    assert_eq!(sought.split_whitespace().collect::<Vec<_>>(), ["PARTITION", "OFFSET", "0", "0", "1", "0"]);
    let text = house.run(["group", "describe", "g", "--url", &url]).ok();
    assert!(
        text.lines().any(|line| line.split_whitespace().eq(["t", "1", "0", "3", "3", "-", "-"])),
        "{text}"
    );
    house.run(["group", "delete", "g", "--url", &url, "--yes"]).ok();
    assert_eq!(house.run(["group", "list", "--json", "--url", &url]).ok(), "");
    broker.stop();
}

/// The frames that came while it stood still are read before anybody is called silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stood_still_for_longer_than_the_grace_throws_nobody_out() {
    let house = House::new();
    house.write("s.toml", "[groups]\ngrace = \"1s\"\nheartbeat = \"300ms\"\n");
    let broker = house.serve_with("s.toml");
    let url = broker.tls();
    house.run(["topic", "create", "t", "--url", &url]).ok();
    let mut member = Member::join(&house, broker.port, Uuid::new_v4()).await;
    let at = member.has[0].clone();
    broker.process.signal("STOP");
    for _ in 0..25 {
        member.say(Message::Heartbeat(Heartbeat { progress: vec![] })).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    broker.process.signal("CONT");
    for request in 0..10 {
        let progress = vec![Progress { at: at.at.clone(), epoch: at.epoch, offset: 0, log_epoch: 0 }];
        member.say(Message::Commit(Commit { request, progress })).await;
        assert_eq!(member.hear().await, Message::Committed(Committed { request, refused: vec![] }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    broker.stop();
}

fn described(house: &House, url: &str) -> Value {
    serde_json::from_str(&house.run(["group", "describe", "g", "--json", "--url", url]).ok()).unwrap()
}
