//! One elector at a time, and the takeover by a second, in paused time.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::store::{Line, Network, World};
use super::*;
use crate::stack::StackOptions;

const LEASE: Duration = Duration::from_secs(15);
/// In paused time: a test that waits in vain fails at once.
const PATIENCE: Duration = Duration::from_secs(150);

struct Process {
    line: Line,
    gate: Gate,
    leadership: watch::Receiver<Leadership>,
    shutdown: watch::Sender<bool>,
    cluster: Cluster,
    task: JoinHandle<ElectionEnd>,
}

fn floor(value: i64) -> EpochFloor {
    Arc::new(move || Box::pin(async move { Ok(value) }))
}

fn start(world: &Arc<Mutex<World>>, name: &'static str, floor: EpochFloor) -> Process {
    let line = Line::new(world, name);
    let gate = Gate::closed();
    let cluster = Cluster::over(line.clone(), "default", gate.clone(), StackOptions::default());
    let elector = Elector::new(&cluster, LeaseConfig::new("sluice", "leader", name, floor)).unwrap();
    let (told, leadership) = watch::channel(Leadership::Standby { holder: None });
    let (shutdown, asked) = watch::channel(false);
    let task = tokio::spawn(elector.run(gate.clone(), told, asked));
    Process { line, gate, leadership, shutdown, cluster, task }
}

impl Process {
    async fn led(&mut self) -> i64 {
        let leading = self.leadership.wait_for(|now| matches!(now, Leadership::Leading { .. }));
        let now = tokio::time::timeout(PATIENCE, leading).await.unwrap().unwrap().clone();
        let Leadership::Leading { epoch } = now else { unreachable!() };
        epoch
    }

    async fn lost(self) -> LossReason {
        let end = tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        assert!(!self.gate.is_open());
        assert_eq!(*self.leadership.borrow(), Leadership::Over);
        match end {
            ElectionEnd::Lost(reason) => reason,
            other => panic!("{other:?}"),
        }
    }
}

fn world() -> Arc<Mutex<World>> {
    Arc::default()
}

#[tokio::test(start_paused = true)]
async fn the_first_process_leads_at_once_and_stays_leader() {
    let world = world();
    let started = Instant::now();
    let mut a = start(&world, "a", floor(0));
    assert_eq!(a.led().await, 1);
    assert_eq!(started.elapsed(), Duration::ZERO);
    tokio::time::sleep(LEASE * 40).await;
    assert_eq!((a.gate.epoch(), a.task.is_finished()), (Some(1), false));
    let spec = world.lock().unwrap().spec();
    assert_eq!(
        (&spec["holderIdentity"], &spec["leaseTransitions"], &spec["leaseDurationSeconds"]),
        (&json!("a"), &json!(1), &json!(15))
    );
    let counts = a.cluster.counts();
    assert_eq!((counts.writes, counts.refused), (0, 0));
    assert!((300..310).contains(&counts.lease), "one request a renewal: {counts:?}");
}

#[tokio::test(start_paused = true)]
async fn the_gate_closes_before_the_lease_can_be_taken_when_the_leader_is_cut_off() {
    for network in [Network::Cut, Network::OneWay] {
        let world = world();
        let mut a = start(&world, "a", floor(0));
        a.led().await;
        let mut b = start(&world, "b", floor(0));
        tokio::time::sleep(LEASE * 2).await;
        assert_eq!(*b.leadership.borrow(), Leadership::Standby { holder: Some("a".to_owned()) });
        let cut = Instant::now();
        a.line.network.send_replace(network);
        let gate = a.gate.clone();
        let b_gate = b.gate.clone();
        let overlap = tokio::spawn(async move {
            while !b_gate.is_open() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            gate.is_open()
        });
        assert!(matches!(a.lost().await, LossReason::Expired { .. }));
        assert_eq!(b.led().await, 2);
        assert!(!overlap.await.unwrap());
        // one-way renewals still arrive for one call time-out
        assert!(cut.elapsed() <= LEASE + Duration::from_secs(5), "{network:?}: {:?}", cut.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_orderly_shutdown_lets_writes_finish_and_hands_over_without_waiting() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    let mut b = start(&world, "b", floor(0));
    tokio::time::sleep(LEASE).await;
    let write = a.gate.admit().unwrap();
    a.shutdown.send_replace(true);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!a.task.is_finished() && !a.gate.is_open(), "it waits for the write, and lets no other through");
    assert!(write.witness().holds());
    assert_eq!(world.lock().unwrap().spec()["holderIdentity"], "a");
    drop(write);
    let released = Instant::now();
    assert_eq!(a.task.await.unwrap(), ElectionEnd::Released);
    assert_eq!(b.led().await, 2);
    assert!(released.elapsed() <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_never_outlasts_the_lease() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    let write = a.gate.admit().unwrap();
    let asked = Instant::now();
    a.shutdown.send_replace(true);
    assert_eq!(a.task.await.unwrap(), ElectionEnd::Released);
    assert!(asked.elapsed() <= LEASE);
    assert!(!write.witness().holds());
    assert_eq!(world.lock().unwrap().spec()["holderIdentity"], "a", "not given back while a write may be under way");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_is_stopped_never_led() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    let b = start(&world, "b", floor(0));
    tokio::time::sleep(LEASE).await;
    b.shutdown.send_replace(true);
    assert_eq!(b.task.await.unwrap(), ElectionEnd::NeverLed);
    assert!(a.gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_the_lease_by_others_is_survived_and_a_new_holder_is_not() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    world.lock().unwrap().edit(|lease| lease["metadata"]["labels"] = json!({"team": "x"}));
    tokio::time::sleep(LEASE * 2).await;
    assert!(a.gate.is_open());
    assert_eq!(world.lock().unwrap().lease.as_ref().unwrap()["metadata"]["labels"]["team"], "x");
    world.lock().unwrap().edit(|lease| lease["spec"]["holderIdentity"] = "b".into());
    assert_eq!(a.lost().await, LossReason::TakenOver { holder: Some("b".to_owned()) });
}

#[tokio::test(start_paused = true)]
async fn a_holder_removed_by_hand_is_waited_for() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    let mut b = start(&world, "b", floor(0));
    tokio::time::sleep(Duration::from_millis(500)).await;
    a.line.network.send_replace(Network::Cut);
    world.lock().unwrap().edit(|lease| lease["spec"]["holderIdentity"] = "".into());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(a.gate.is_open() && !b.gate.is_open());
    assert_eq!(b.led().await, 2);
    assert!(!a.gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_ends_the_term_and_the_next_epoch_is_above_every_recorded_one() {
    let world = world();
    let recorded = Arc::new(AtomicI64::new(0));
    let of = |recorded: &Arc<AtomicI64>| -> EpochFloor {
        let recorded = recorded.clone();
        Arc::new(move || {
            let value = recorded.load(Ordering::SeqCst);
            Box::pin(async move { Ok(value) })
        })
    };
    let mut a = start(&world, "a", of(&recorded));
    assert_eq!(a.led().await, 1);
    recorded.store(41, Ordering::SeqCst);
    let mut b = start(&world, "b", of(&recorded));
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.lock().unwrap().lease = None;
    let deleted = Instant::now();
    assert_eq!(a.lost().await, LossReason::Deleted);
    assert!(deleted.elapsed() <= Duration::from_secs(2));
    assert_eq!(b.led().await, 42);
    assert!(deleted.elapsed() >= LEASE, "the holder may not have noticed: {:?}", deleted.elapsed());
    assert!(deleted.elapsed() <= LEASE + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_without_a_lease_but_with_recorded_epochs_waits_a_lease() {
    let world = world();
    let started = Instant::now();
    let mut b = start(&world, "b", floor(7));
    assert_eq!(b.led().await, 8);
    assert!(started.elapsed() >= LEASE && started.elapsed() <= LEASE + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_saw_the_lease_vanish_waits_even_if_no_epoch_is_recorded() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    let mut b = start(&world, "b", floor(0));
    tokio::time::sleep(Duration::from_secs(3)).await;
    a.line.network.send_replace(Network::Cut);
    world.lock().unwrap().lease = None;
    let deleted = Instant::now();
    b.led().await;
    assert!(deleted.elapsed() >= LEASE && !a.gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn without_the_floor_nobody_leads_and_an_epoch_is_never_made_up() {
    let world = world();
    let failing: EpochFloor = Arc::new(|| Box::pin(async { Err("no list".into()) }));
    let b = start(&world, "b", failing);
    tokio::time::sleep(LEASE * 4).await;
    assert!(!b.gate.is_open() && world.lock().unwrap().lease.is_none());
    for beyond in [i64::from(i32::MAX), i64::MAX] {
        let c = start(&world, "c", floor(beyond));
        tokio::time::sleep(LEASE * 4).await;
        assert!(!c.gate.is_open() && world.lock().unwrap().lease.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_ends_the_term_with_its_reason() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    let backup = world.lock().unwrap().lease.clone();
    tokio::time::sleep(LEASE * 2).await;
    world.lock().unwrap().restore(backup, 1);
    let LossReason::TimeWentBack { known, seen } = a.lost().await else { panic!("another reason") };
    assert!(seen < known && seen == 1, "{seen} {known}");

    // the record is as we know it, but the counter fell
    let world = self::world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    tokio::time::sleep(LEASE * 2).await;
    let lease = world.lock().unwrap().lease.clone();
    world.lock().unwrap().restore(lease, 3);
    assert!(matches!(a.lost().await, LossReason::TimeWentBack { seen: 4, .. }));
}

#[tokio::test(start_paused = true)]
async fn winning_without_an_answer_counts_from_the_beginning_of_the_attempt() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.line.network.send_replace(Network::OneWay);
    tokio::time::sleep(Duration::from_millis(1)).await;
    // the GET was answered into the void; the attempt follows when the line is up
    a.line.network.send_replace(Network::Up);
    assert_eq!(a.led().await, 1);
    assert!(a.gate.remaining().unwrap() <= LEASE);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_elector_closes_the_gate() {
    let world = world();
    let mut a = start(&world, "a", floor(0));
    a.led().await;
    a.task.abort();
    assert!((&mut a.task).await.unwrap_err().is_cancelled());
    assert!(!a.gate.is_open());
    assert_eq!(*a.leadership.borrow(), Leadership::Over);
}

#[tokio::test]
async fn a_configuration_that_cannot_hold_is_refused() {
    let cluster = Cluster::over(Line::new(&world(), "a"), "default", Gate::closed(), StackOptions::default());
    let config = || LeaseConfig::new("sluice", "leader", "a", floor(0));
    assert!(Elector::new(&cluster, config()).is_ok());
    for wrong in [
        LeaseConfig { duration_s: 0, ..config() },
        LeaseConfig { duration_s: 301, ..config() },
        LeaseConfig { renew_every: Duration::from_secs(6), ..config() },
        LeaseConfig { renew_every: Duration::ZERO, ..config() },
        LeaseConfig { identity: String::new(), ..config() },
        LeaseConfig { name: "../x".to_owned(), ..config() },
    ] {
        assert!(Elector::new(&cluster, wrong).is_err());
    }
}
