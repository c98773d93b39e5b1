//! The power goes at every single storage operation: nothing that the catalog counts on is lost.

use std::sync::Arc;

use cafe_pipeline::stage::Cancel;
use cafe_pipeline::storage::Storage;

use crate::support::forgetful::Forgetful;
use crate::support::lab::{Dataset, Lab, manifest, options, watch};

fn lab() -> Lab {
    Lab::new(manifest(10, 5, "journal = true"))
}

/// Runs until the power goes before operation `dies_at`; gives the operations done.
async fn run_until(lab: &Lab, dies_at: u64, syncs_folders: bool) -> u64 {
    let cancel = Cancel::default();
    let storage = Arc::new(Forgetful::new(&lab.data(), dies_at, cancel.clone(), syncs_folders));
    let project = lab.project(Arc::clone(&storage) as Arc<dyn Storage>).await;
    // Whatever it says: the process is gone.
    let _ = watch(&project, options(1), cancel).await;
    project.catalog.close().await;
    storage.lose();
    storage.n_operations()
}

/// Committed files that are not there, or not whole.
async fn n_lost(lab: &Lab) -> usize {
    let project = lab.local().await;
    let files = project.catalog.files().await.unwrap();
    let is_whole = |path: &str, n_bytes: u64| project.storage.size(path).is_ok_and(|size| size == n_bytes);
    let n_lost = files.iter().filter(|file| !is_whole(&file.path, file.n_bytes)).count();
    project.catalog.close().await;
    n_lost
}

async fn undisturbed() -> Dataset {
    let lab = lab();
    assert_eq!(lab.run(options(1)).await.exit_code(), 0);
    lab.dataset().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_wherever_the_power_goes() {
    let wanted = undisturbed().await;
    let mut dies_at = 1;
    loop {
        let lab = lab();
        let n_operations = run_until(&lab, dies_at, true).await;
        assert_eq!(n_lost(&lab).await, 0, "power cut before operation {dies_at}");
        let report = lab.run(options(2)).await;
        assert_eq!(report.exit_code(), 0, "power cut before operation {dies_at}");
        assert_eq!(lab.dataset().await, wanted, "power cut before operation {dies_at}");
        if n_operations < dies_at {
            break;
        }
        dies_at += 1;
    }
    assert!(dies_at > 50, "only {dies_at} operations: the run does not do what this test thinks");
}

/// The test above can fail: without the folder's sync, files are lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_synced_loses_files() {
    let lab = lab();
    run_until(&lab, u64::MAX, false).await;
    assert!(n_lost(&lab).await > 0);
}
