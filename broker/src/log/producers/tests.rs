use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const ME: u64 = 11;

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n + 1)
}

fn append(producer: Uuid, sequence: u64, base_offset: u64) -> ProducerAppend {
    ProducerAppend { producer, identity: ME, sequence, base_offset, epoch: 3 }
}

/// A table in which producer 0 has appended `count` batches of ten records, all durable.
fn table_after(count: u64) -> ProducerTable {
    let mut table = ProducerTable::new();
    for sequence in 0..count {
        table.record(&append(id(0), sequence, sequence * 10), 0, sequence * 10);
    }
    table
}

#[test]
fn a_producer_starts_at_zero_and_goes_on_by_one() {
    let mut table = ProducerTable::new();
    assert_eq!(table.check(id(0), 1, ME, 0, &[]), Verdict::Refused(Refusal::UnknownProducer));
    assert_eq!(table.check(id(0), 0, ME, 0, &[]), Verdict::Accept);
    table.record(&append(id(0), 0, 100), 0, 0);
    assert_eq!(table.check(id(0), 1, ME, 0, &[]), Verdict::Accept);
    assert_eq!(table.check(id(0), 2, ME, 0, &[]), Verdict::Refused(Refusal::OutOfSequence { expected: 1 }));
}

#[test]
fn exactly_the_latest_sixty_four_are_known_as_duplicates() {
    let table = table_after(68);
    for sequence in 4..68 {
        let duplicate = Verdict::Duplicate { base_offset: sequence * 10, epoch: 3 };
        assert_eq!(table.check(id(0), sequence, ME, 0, &[]), duplicate);
    }
    assert_eq!(table.check(id(0), 3, ME, 0, &[]), Verdict::Refused(Refusal::TooOld { expected: 68 }));
    assert_eq!(table.check(id(0), 68, ME, 0, &[]), Verdict::Accept);
}

#[test]
fn a_producer_has_hardly_more_room_than_it_needs() {
    for batches in [1, 5, 20, 64, 10_000] {
        let table = table_after(batches);
        let recent = &table.producers[&id(0)].recent;
        assert!(
            recent.capacity() <= recent.len().max(4) + ROOM,
            "{} for {}",
            recent.capacity(),
            recent.len()
        );
    }
}

#[test]
fn another_identity_is_fenced_even_from_what_would_be_a_duplicate() {
    let table = table_after(2);
    for sequence in 0..4 {
        let verdict = table.check(id(0), sequence, ME + 1, 0, &[]);
        assert_eq!(verdict, Verdict::Refused(Refusal::ProducerFenced));
    }
}

#[test]
fn appends_ahead_in_the_same_commit_count() {
    let table = table_after(3);
    let staged = [append(id(0), 3, 30), append(id(1), 0, 40), append(id(0), 4, 50)];
    assert_eq!(table.check(id(0), 5, ME, 0, &staged), Verdict::Accept);
    assert_eq!(table.check(id(0), 3, ME, 0, &staged), Verdict::Duplicate { base_offset: 30, epoch: 3 });
    assert_eq!(table.check(id(0), 2, ME, 0, &staged), Verdict::Duplicate { base_offset: 20, epoch: 3 });
    assert_eq!(
        table.check(id(0), 6, ME, 0, &staged),
        Verdict::Refused(Refusal::OutOfSequence { expected: 5 })
    );
    assert_eq!(table.check(id(1), 1, ME, 0, &staged), Verdict::Accept);
    assert_eq!(table.check(id(1), 1, ME + 1, 0, &staged), Verdict::Refused(Refusal::ProducerFenced));
}

#[test]
fn a_producer_is_forgotten_after_seven_idle_days_and_not_before() {
    let mut table = table_after(2);
    assert_eq!(table.check(id(0), 2, ME, EXPIRY_MS - 1, &[]), Verdict::Accept);
    let verdict = table.check(id(0), 2, ME, EXPIRY_MS, &[]);
    assert_eq!(verdict, Verdict::Refused(Refusal::UnknownProducer));
    // Its id is free again, for anybody.
    assert_eq!(table.check(id(0), 0, ME + 1, EXPIRY_MS, &[]), Verdict::Accept);
    table.record(&append(id(1), 0, 20), EXPIRY_MS, 20);
    assert_eq!(table.len(), 1);
}

#[test]
fn beyond_the_bound_the_longest_idle_is_forgotten() {
    let mut table = ProducerTable::new();
    for (n, time) in (0..MAX_PRODUCERS).zip(0_i64..) {
        table.record(&append(id(n as u128), 0, n as u64), time, 0);
    }
    table.record(&append(id(0), 1, 9_000), 9_000, 0); // 1 is the longest idle now
    table.record(&append(id(50_000), 0, 9_001), 9_001, 0);
    assert_eq!(table.len(), MAX_PRODUCERS);
    assert_eq!(table.check(id(1), 1, ME, 9_001, &[]), Verdict::Refused(Refusal::UnknownProducer));
    assert_eq!(table.check(id(0), 2, ME, 9_001, &[]), Verdict::Accept);
    assert_eq!(table.check(id(2), 1, ME, 9_001, &[]), Verdict::Accept);
}

#[test]
fn a_cut_at_the_durable_end_is_taken_back_exactly_however_many_batches_it_took() {
    let mut table = table_after(20);
    let before = table.clone();
    for sequence in 20..70 {
        table.record(&append(id(0), sequence, sequence * 10), 0, 190);
    }
    table.record(&append(id(1), 0, 700), 0, 190);
    table.truncate_to(200);
    for sequence in 0..75 {
        assert_eq!(
            table.check(id(0), sequence, ME, 0, &[]),
            before.check(id(0), sequence, ME, 0, &[]),
            "{sequence}"
        );
    }
    assert_eq!(table.check(id(1), 0, ME + 5, 0, &[]), Verdict::Accept);
}

#[test]
fn a_deeper_cut_forgets_a_producer_rather_than_guess() {
    let mut table = table_after(REMEMBERED as u64 + 24);
    table.truncate_to(50);
    assert_eq!(table.check(id(0), 5, ME, 0, &[]), Verdict::Refused(Refusal::UnknownProducer));
}

#[test]
fn a_replay_that_starts_over_is_followed() {
    let mut table = table_after(5);
    table.record(&append(id(0), 0, 900), 0, 900);
    assert_eq!(table.check(id(0), 1, ME, 0, &[]), Verdict::Accept);
    assert_eq!(table.check(id(0), 0, ME, 0, &[]), Verdict::Duplicate { base_offset: 900, epoch: 3 });
}

#[test]
fn a_snapshot_that_is_cut_or_changed_anywhere_is_refused() {
    let mut table = table_after(20);
    table.record(&append(id(1), 0, 500), 7, 500);
    let bytes = table.encode();
    assert_eq!(ProducerTable::decode(&bytes).unwrap(), table);
    for len in 0..bytes.len() {
        assert!(ProducerTable::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    for position in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[position] ^= 0x10;
        assert!(ProducerTable::decode(&bytes).is_err(), "changed at {position}");
    }
}

#[test]
fn a_snapshot_that_claims_too_much_is_refused_though_its_checksum_holds() {
    let seal = |mut bytes: Vec<u8>| {
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    };
    let claims = seal([b"SLP1".as_slice(), &u32::MAX.to_le_bytes()].concat());
    assert_eq!(ProducerTable::decode(&claims), Err(SnapshotError::Inconsistent));
    let trailing = seal([b"SLP1".as_slice(), &0_u32.to_le_bytes(), b"more"].concat());
    assert_eq!(ProducerTable::decode(&trailing), Err(SnapshotError::Inconsistent));
    assert_eq!(ProducerTable::decode(b"SLP2"), Err(SnapshotError::UnknownVersion));
}

/// The same rules, written so that they can hardly be wrong: the whole history, searched from the front.
#[derive(Default)]
struct Naive {
    /// Appends that are in the log, with their times.
    history: Vec<(ProducerAppend, i64)>,
}

impl Naive {
    /// The appends of a producer since it was last unknown.
    fn life(&self, producer: Uuid, now: i64) -> Vec<ProducerAppend> {
        let mut life: Vec<ProducerAppend> = Vec::new();
        let mut last = i64::MIN / 2;
        for (append, time) in self.history.iter().filter(|(append, _)| append.producer == producer) {
            if time - last >= EXPIRY_MS {
                life.clear();
            }
            life.push(*append);
            last = *time;
        }
        if now - last >= EXPIRY_MS {
            life.clear();
        }
        life
    }

    fn check(&self, producer: Uuid, sequence: u64, identity: u64, now: i64) -> Verdict {
        let life = self.life(producer, now);
        let Some(first) = life.first() else {
            return match sequence {
                0 => Verdict::Accept,
                _ => Verdict::Refused(Refusal::UnknownProducer),
            };
        };
        let expected = life.len() as u64;
        if first.identity != identity {
            Verdict::Refused(Refusal::ProducerFenced)
        } else if sequence == expected {
            Verdict::Accept
        } else if sequence > expected {
            Verdict::Refused(Refusal::OutOfSequence { expected })
        } else if expected - sequence > REMEMBERED as u64 {
            Verdict::Refused(Refusal::TooOld { expected })
        } else {
            let append = &life[usize::try_from(sequence).unwrap()];
            Verdict::Duplicate { base_offset: append.base_offset, epoch: append.epoch }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A producer sends the sequence awaited, moved by so many, as an identity, after so many milliseconds.
    Send { producer: u128, shift: i64, identity: u64, wait: i64 },
    /// Everything so far becomes durable.
    Sync,
    /// What is not durable is cut.
    Cut,
    /// The table goes through its bytes.
    Snapshot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let shift = prop_oneof![6 => Just(0_i64), 1 => 1_i64..3, 3 => -80_i64..0];
    let wait = prop_oneof![200 => 0_i64..1_000, 1 => EXPIRY_MS - 2..EXPIRY_MS + 2];
    let identity = prop_oneof![12 => Just(1_u64), 1 => Just(2_u64)];
    // One of them sends most, so that it has sent more than is remembered.
    let producer = prop_oneof![3 => Just(0_u128), 1 => 1_u128..4];
    let send = (producer, shift, identity, wait).prop_map(|(producer, shift, identity, wait)| Step::Send {
        producer,
        shift,
        identity,
        wait,
    });
    let step = prop_oneof![
        20 => send,
        2 => Just(Step::Sync),
        1 => Just(Step::Cut),
        1 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 0..400)
}

proptest! {
    #[test]
    fn the_table_decides_as_a_search_of_the_whole_history_does(steps in steps()) {
        let mut table = ProducerTable::new();
        let mut naive = Naive::default();
        let (mut now, mut end, mut durable) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Send { producer, shift, identity, wait } => {
                    now += wait;
                    let awaited = naive.life(id(producer), now).len() as u64;
                    let sequence = awaited.saturating_add_signed(shift);
                    let verdict = table.check(id(producer), sequence, identity, now, &[]);
                    prop_assert_eq!(&verdict, &naive.check(id(producer), sequence, identity, now));
                    if verdict == Verdict::Accept {
                        let epoch = u32::try_from(end % 5).unwrap();
                        let append =
                            ProducerAppend { producer: id(producer), identity, sequence, base_offset: end, epoch };
                        table.record(&append, now, durable);
                        naive.history.push((append, now));
                        end += 3;
                    }
                }
                Step::Sync => durable = end,
                Step::Cut => {
                    table.truncate_to(durable);
                    naive.history.retain(|(append, _)| append.base_offset < durable);
                    end = durable;
                }
                Step::Snapshot => {
                    let back = ProducerTable::decode(&table.encode());
                    prop_assert_eq!(back.as_ref(), Ok(&table));
                    table = back.unwrap();
                }
            }
        }
    }
}
