use super::super::tests::{N_STEPS, RATE, Run, bits};
use candle_core::Device;

use super::*;

const DIGEST: &str = "blake3:1234";

fn progress(step: usize) -> Progress {
    Progress { step: step as u64, seed: u64::MAX, learning_rate: RATE, config_digest: DIGEST.to_owned() }
}

impl Run {
    fn after(n_steps: usize) -> Self {
        let mut run = Self::new();
        run.steps(1..=n_steps);
        run
    }

    fn steps(&mut self, steps: std::ops::RangeInclusive<usize>) {
        for step in steps {
            self.step(step);
        }
    }

    fn save(&self, folder: &Path, step: usize) -> Result<PathBuf> {
        ResumePoint::save(folder, &progress(step), &self.optimizer, Some(&self.ema))
    }

    fn restore(&mut self, folder: &Path) -> Result<Progress> {
        ResumePoint::last(folder)?.unwrap().restore(DIGEST, &mut self.optimizer, Some(&mut self.ema))
    }

    /// Everything that training depends on, as bits.
    fn everything(&self) -> [BTreeMap<String, Vec<u64>>; 3] {
        let variables = self.variables.iter().map(|(name, variable)| (name, variable.as_tensor()));
        [bits(variables), bits(&self.optimizer.state().unwrap()), bits(self.ema.averages())]
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn message(error: &EngineError, folder: &Path) -> String {
    error.to_string().replace(folder.to_str().unwrap(), "FOLDER")
}

#[test]
fn save_restore_continue_is_uninterrupted_bit_for_bit() {
    let uninterrupted = Run::after(N_STEPS);
    // Before `late` has a gradient, and after.
    for stop in [0, 3, 10] {
        let folder = tempfile::tempdir().unwrap();
        Run::after(stop).save(folder.path(), stop).unwrap();
        let mut resumed = Run::after(1);
        assert_eq!(resumed.restore(folder.path()).unwrap(), progress(stop));
        assert_eq!(resumed.everything(), Run::after(stop).everything());
        resumed.steps(stop + 1..=N_STEPS);
        assert_eq!(resumed.everything(), uninterrupted.everything());
        assert_eq!(resumed.ema.n_steps(), N_STEPS as u64);
    }
}

#[test]
fn a_restored_state_is_a_copy() {
    let mut first = Run::after(3);
    let mut second = Run::new();
    second.optimizer.restore(first.optimizer.state().unwrap()).unwrap();
    let before = bits(&second.optimizer.state().unwrap());
    first.steps(4..=5);
    assert_eq!(bits(&second.optimizer.state().unwrap()), before);
}

#[test]
fn only_the_last_point_stays() {
    let folder = tempfile::tempdir().unwrap();
    assert!(ResumePoint::last(folder.path()).unwrap().is_none());
    assert!(ResumePoint::last(&folder.path().join("absent")).unwrap().is_none());
    let mut run = Run::new();
    run.save(folder.path(), 9).unwrap();
    run.step(1);
    run.save(folder.path(), 10).unwrap();
    assert_eq!(names(folder.path()), ["step-00000010"]);
    // The same step again, with other numbers.
    run.step(2);
    run.save(folder.path(), 10).unwrap();
    assert_eq!(names(folder.path()), ["step-00000010.2"]);
    let mut restored = Run::new();
    restored.restore(folder.path()).unwrap();
    assert_eq!(restored.everything(), run.everything());
    let error = run.save(folder.path(), 5).unwrap_err();
    assert_eq!(
        message(&error, folder.path()),
        "FOLDER/step-00000010.2: is of step 10, and this is step 5: resume from it, or save to another folder"
    );
}

#[test]
fn whenever_it_stops_there_is_the_last_point_or_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Run::after(2), Run::after(4));
    let whole = {
        let folder = tempfile::tempdir().unwrap();
        let path = new.save(folder.path(), 4).unwrap();
        names(&path).into_iter().map(|name| (name.clone(), std::fs::read(path.join(name)).unwrap())).collect::<Vec<_>>()
    };
    old.save(folder.path(), 2).unwrap();
    let assert_last = |expected: &Run| {
        let mut found = Run::new();
        found.restore(folder.path()).unwrap();
        assert_eq!(found.everything(), expected.everything());
    };
    // It stops within any file of the temporary folder.
    let temporary = folder.path().join(TEMPORARY);
    std::fs::create_dir(&temporary).unwrap();
    for (name, bytes) in &whole {
        for length in [0, bytes.len() / 2, bytes.len()] {
            std::fs::write(temporary.join(name), &bytes[..length]).unwrap();
            assert_last(&old);
        }
    }
    // After the rename, before the old one is gone, and within its removal.
    std::fs::rename(&temporary, folder.path().join("step-00000004")).unwrap();
    assert_last(&new);
    std::fs::remove_file(folder.path().join("step-00000002/state.json")).unwrap();
    assert_last(&new);
    // What was left over does not stand in the way.
    std::fs::create_dir(&temporary).unwrap();
    std::fs::write(temporary.join("ema.safetensors"), "x").unwrap();
    let later = Run::after(5);
    later.save(folder.path(), 5).unwrap();
    assert_last(&later);
    assert_eq!(names(folder.path()), ["step-00000005"]);
}

#[test]
fn what_is_cut_short_or_missing_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = Run::after(8).save(folder.path(), 8).unwrap();
    for name in names(&path) {
        let file = path.join(&name);
        let whole = std::fs::read(&file).unwrap();
        for length in [0, 7, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..length]).unwrap();
            let mut run = Run::new();
            let error = run.restore(folder.path()).unwrap_err();
            assert!(message(&error, folder.path()).starts_with(&format!("FOLDER/step-00000008/{name}: ")), "{error}");
            assert_eq!(run.everything(), Run::new().everything());
        }
        std::fs::remove_file(&file).unwrap();
        let error = Run::new().restore(folder.path()).unwrap_err();
        assert!(message(&error, folder.path()).contains(&name), "{error}");
        std::fs::write(&file, &whole).unwrap();
    }
    Run::new().restore(folder.path()).unwrap();
}

#[test]
fn what_is_foreign_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = Run::after(8).save(folder.path(), 8).unwrap();
    let refuse = |digest: &str, edit: &dyn Fn(&mut Run), expected: &str| {
        let mut run = Run::new();
        edit(&mut run);
        let before = run.everything();
        let point = ResumePoint::last(folder.path()).unwrap().unwrap();
        let error = point.restore(digest, &mut run.optimizer, Some(&mut run.ema)).unwrap_err();
        let message = message(&error, folder.path());
        assert!(message.starts_with("FOLDER/step-00000008: ") && message.contains(expected), "{message}");
        assert_eq!(run.everything(), before);
    };
    refuse("blake3:5", &|_| (), "of the config blake3:1234, and this is blake3:5");
    let without = |run: &mut Run| {
        run.variables.remove("late");
        run.optimizer = AdamW::new(run.variables.clone(), *run.optimizer.config()).unwrap();
    };
    refuse(DIGEST, &without, "weights.safetensors has `late`, which is not trained");
    let other_shape = |run: &mut Run| {
        let zeros = Var::zeros(4, candle_core::DType::F32, &Device::Cpu).unwrap();
        run.variables.insert("late".to_owned(), zeros);
        run.optimizer = AdamW::new(run.variables.clone(), *run.optimizer.config()).unwrap();
    };
    refuse(DIGEST, &other_shape, "has `late` as F32 of [3], and what is trained is F32 of [4]");

    let mut run = Run::new();
    let point = ResumePoint::last(folder.path()).unwrap().unwrap();
    let error = point.restore(DIGEST, &mut run.optimizer, None).unwrap_err();
    assert!(error.to_string().ends_with("has an average of the weights, and none is wanted"), "{error}");

    let weights = std::fs::read(path.join("weights.safetensors")).unwrap();
    std::fs::write(path.join("optimizer.safetensors"), weights).unwrap();
    refuse(DIGEST, &|_| (), "the optimizer's state has no `hyper_parameters`");

    for (text, expected) in [
        (r#"{"format": "other", "version": 1}"#, "is of the format `other`, not `cafe-data resume point`"),
        (r#"{"format": "cafe-data resume point", "version": 2}"#, "has version 2, and this program reads 1"),
        (r#"{"format": "cafe-data resume point", "version": 1}"#, "is damaged: missing field `step`"),
    ] {
        std::fs::write(path.join("state.json"), text).unwrap();
        let error = Run::new().restore(folder.path()).unwrap_err();
        let message = message(&error, folder.path());
        assert!(message.starts_with(&format!("FOLDER/step-00000008/state.json: {expected}")), "{message}");
    }
}
