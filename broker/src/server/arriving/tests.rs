use futures_util::poll;

use super::*;

const PATIENCE: Duration = Duration::from_secs(2);

/// What `arrivals` charges a frame at once, and the frame's charge.
async fn charged(arrivals: &Arrivals, more: u32) -> Charge {
    let mut charge = Charge::default();
    arrivals.charge(&mut charge, more, Instant::now()).await.expect("there is room");
    charge
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_so_and_leaves_nothing_behind() {
    let arrivals = Arrivals::new(100, PATIENCE);
    let (full, lane) = (charged(&arrivals, 60).await, charged(&arrivals, 50).await);
    let start = Instant::now();
    let mut waiting = Charge::default();
    let fault = arrivals.charge(&mut waiting, 50, start).await.unwrap_err();
    assert_eq!((fault.code_known(), start.elapsed()), (Some(FaultCode::Busy), PATIENCE));
    assert!(fault.retry_after_ms.is_some());
    // A frame that was disturbed while it waited has waited before.
    let again = arrivals.charge(&mut waiting, 50, start);
    assert!(again.await.is_err());
    assert_eq!(start.elapsed(), PATIENCE);
    drop((full, lane));
    assert_eq!(arrivals.level().now, 0);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_stands_still_is_given_up_only_once_somebody_waits() {
    let arrivals = Arrivals::new(100, PATIENCE);
    let full = charged(&arrivals, 100).await;
    let start = Instant::now();
    let pace = Pace::new(0, start);
    let mut overdue = std::pin::pin!(arrivals.overdue(&full, &pace));
    assert!(tokio::time::timeout(STALL * 100, overdue.as_mut()).await.is_err());
    // Served at once, by the lane; yet it found the budget spent.
    drop(charged(&arrivals, 10).await);
    assert_eq!(overdue.await.code_known(), Some(FaultCode::Busy));

    let pace = Pace::new(0, Instant::now());
    let start = Instant::now();
    let mut overdue = std::pin::pin!(arrivals.overdue(&full, &pace));
    assert!(poll!(overdue.as_mut()).is_pending());
    let _lane = charged(&arrivals, 10).await;
    let mut waiting = Charge::default();
    tokio::join!(overdue, arrivals.charge(&mut waiting, 10, start + STALL)).1.unwrap_err();
    assert!(start.elapsed() >= STALL, "it had its time");
    assert!(tokio::time::timeout(STALL * 9, arrivals.overdue(&Charge::default(), &pace)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn who_stalls_in_the_lane_loses_it_and_so_does_who_stays_while_others_wait() {
    let arrivals = Arrivals::new(100, PATIENCE);
    let _full = charged(&arrivals, 100).await;
    let lane = charged(&arrivals, 10).await;
    let start = Instant::now();
    arrivals.overdue(&lane, &Pace::new(0, start)).await;
    assert_eq!(start.elapsed(), LANE_STALL, "whether or not somebody waits");

    // Moving all the time, it may stay for as long as nobody waits.
    let moving = |arrivals: Arrivals, lane: Charge| async move {
        loop {
            let pace = Pace::new(0, Instant::now());
            let overdue = arrivals.overdue(&lane, &pace);
            if tokio::time::timeout(LANE_STALL / 2, overdue).await.is_ok() {
                return;
            }
        }
    };
    let mut moving = std::pin::pin!(moving(arrivals.clone(), lane));
    assert!(tokio::time::timeout(LANE_TURN * 3, moving.as_mut()).await.is_err());
    let mut waiting = Charge::default();
    let ((), took) = tokio::join!(moving, arrivals.charge(&mut waiting, 10, Instant::now()));
    took.expect("the lane went to who waited for it");
}
