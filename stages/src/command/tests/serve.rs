//! Long-lived programs: handshake, errors, heartbeats, death and restart.

use std::time::{Duration, Instant};

use cafe_pipeline::stage::ErrorClass;
use serde_json::json;

use super::*;

const READY: &str = "echo '{\"ready\":true,\"protocol\":1}';";

/// Takes the value of a text field and of a number field out of the request `$line`.
const PARSE: &str = "id=$(echo \"$line\" | sed 's/.*\"id\":\\([0-9]*\\).*/\\1/'); \
                     out=$(echo \"$line\" | sed 's/.*\"output\":\"\\([^\"]*\\)\".*/\\1/');";

fn serving(project: &Project, per_request: &str, more: Value) -> Arc<dyn RowWork> {
    project.prepare("ready.parquet", vec![ids_of(&["a", "b"]), scores(&[1.0, 2.0])]);
    let script =
        format!("echo start >> starts; {READY} while read -r line; do {PARSE} {per_request}; done; echo eof >> ends");
    serving_script(project, &script, more)
}

fn serving_script(project: &Project, script: &str, mut more: Value) -> Arc<dyn RowWork> {
    more["mode"] = json!("serve");
    project.work(sh(script, more))
}

const ANSWER: &str = "cp ready.parquet \"$out\"; echo \"{\\\"id\\\":$id,\\\"ok\\\":true,\\\"device_ms\\\":12}\"";

fn process(project: &Project, work: &Arc<dyn RowWork>) -> Result<BatchOutcome, WorkError> {
    work.process(&project.context(), &rows(&["a", "b"]))
}

#[test]
fn one_process_serves_all_batches_and_goes_at_the_end_of_stdin() {
    let project = Project::new();
    let work = serving(&project, ANSWER, json!({}));
    for _ in 0..3 {
        let outcome = process(&project, &work).unwrap();
        assert_eq!(outcome.tables["scores"].height(), 2);
        assert_eq!(outcome.cost.device_ms, 12);
    }
    assert_eq!(project.read("starts"), "start\n");
    drop(work);
    assert_eq!(project.read("ends"), "eof\n");
}

#[test]
fn errors_keep_it_alive() {
    let project = Project::new();
    let reply = |class: &str| {
        format!("echo \"{{\\\"id\\\":$id,\\\"error\\\":{{\\\"class\\\":\\\"{class}\\\",\\\"message\\\":\\\"m\\\"}}}}\"")
    };
    let script = format!(
        "n=$((n+1)); case $n in 1) {};; 2) {};; 3) {};; 4) {};; *) {ANSWER};; esac",
        reply("out_of_memory"),
        reply("transient"),
        reply("poison"),
        reply("systemic"),
    );
    let work = serving(&project, &script, json!({}));
    assert!(matches!(process(&project, &work), Err(WorkError::OutOfMemory(_))));
    assert!(matches!(process(&project, &work), Err(WorkError::Transient(_))));
    let poison = process(&project, &work).unwrap_err();
    assert_eq!(poison.to_string(), "the program reported: m");
    assert!(matches!(poison, WorkError::Poison { class: ErrorClass::Program, .. }));
    assert!(matches!(process(&project, &work), Err(WorkError::Systemic(_))));
    process(&project, &work).unwrap();
    assert_eq!(project.read("starts"), "start\n");
}

#[test]
fn after_its_death_another_is_started() {
    let project = Project::new();
    let script = format!("if [ ! -e died ]; then touch died; echo 'CUDA error' >&2; kill -ABRT $$; fi; {ANSWER}");
    let work = serving(&project, &script, json!({}));
    let error = process(&project, &work).unwrap_err();
    assert!(matches!(error, WorkError::Poison { class: ErrorClass::Death, .. }), "{error:?}");
    assert!(error.to_string().ends_with("CUDA error"), "{error}");
    process(&project, &work).unwrap();
    assert_eq!(project.read("starts"), "start\nstart\n");
}

#[test]
fn killed_from_outside_is_out_of_memory() {
    let project = Project::new();
    let work = serving(&project, "kill -9 $$", json!({}));
    assert!(matches!(process(&project, &work), Err(WorkError::OutOfMemory(_))));
}

#[test]
fn dead_while_idle_is_noticed() {
    let project = Project::new();
    let work = serving(&project, &format!("{ANSWER}; exit 0"), json!({}));
    process(&project, &work).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    process(&project, &work).unwrap();
    assert_eq!(project.read("starts"), "start\nstart\n");
}

#[test]
fn a_silent_batch_is_a_hang_and_a_heartbeat_is_not() {
    let project = Project::new();
    let work = serving(&project, "sleep 60", json!({ "deadline_secs": 1 }));
    let error = process(&project, &work).unwrap_err();
    assert!(matches!(error, WorkError::Poison { class: ErrorClass::Hang, .. }), "{error:?}");

    let beating = format!("for i in 1 2 3 4; do echo '{{\"heartbeat\":true}}'; sleep 0.5; done; {ANSWER}");
    let work = serving(&project, &beating, json!({ "deadline_secs": 1, "heartbeat_secs": 1 }));
    process(&project, &work).unwrap();
}

#[test]
fn endless_heartbeats_end() {
    let project = Project::new();
    let work = serving(
        &project,
        "while :; do echo '{\"heartbeat\":true}'; sleep 0.1; done",
        json!({ "deadline_secs": 1, "heartbeat_secs": 60 }),
    );
    let began = Instant::now();
    assert!(matches!(process(&project, &work), Err(WorkError::Poison { class: ErrorClass::Hang, .. })));
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn starts_that_fail_are_explained() {
    let project = Project::new();
    let run =
        |script: &str| process(&project, &serving_script(&project, script, json!({ "start_secs": 1 }))).unwrap_err();
    let error = run("sleep 60");
    assert!(error.to_string().contains("was not ready within 1 s"), "{error}");
    let error = run("echo 'No module named torch' >&2; exit 1");
    assert!(matches!(error, WorkError::Systemic(_)));
    assert!(error.to_string().ends_with("No module named torch"), "{error}");
    assert!(matches!(run("exit 75"), WorkError::Transient(_)));
    let error = run("echo '{\"ready\":true,\"protocol\":2}'; sleep 60");
    assert!(error.to_string().contains("speaks protocol 2"), "{error}");
}

#[test]
fn chatter_is_let_pass_and_endless_lines_are_not() {
    let project = Project::new();
    let work = serving(&project, &format!("echo 'step 1 of 50'; echo '[1, 2]'; {ANSWER}"), json!({}));
    process(&project, &work).unwrap();
    let work = serving(&project, "head -c 3000000 /dev/zero | tr '\\0' x", json!({}));
    let error = process(&project, &work).unwrap_err();
    assert!(error.to_string().contains("a line of more than"), "{error}");
}

#[test]
fn answers_to_other_requests_are_refused() {
    let project = Project::new();
    let work = serving(&project, "echo '{\"id\":99,\"ok\":true}'", json!({}));
    let error = process(&project, &work).unwrap_err();
    assert!(matches!(error, WorkError::Systemic(_)) && error.to_string().contains("in answer to request 1"), "{error}");
}

#[test]
fn a_stop_is_heard_in_the_middle_of_a_batch() {
    let project = Project::new();
    let work = serving(&project, "touch busy; sleep 60", json!({}));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| process(&project, &work));
        while !project.path("busy").try_exists().unwrap() {
            std::thread::sleep(Duration::from_millis(5));
        }
        project.cancel.cancel();
        assert!(matches!(run.join().unwrap(), Err(WorkError::Cancelled)));
    });
}
