//! Why a command ends early, as a person reads it and as an exit code.

use std::process::ExitCode;

use cafe_engine::EngineError;
use cafe_pipeline::audit::AuditError;
use cafe_pipeline::catalog::CatalogError;
use cafe_pipeline::executor::RunError;
use cafe_pipeline::manifest::ManifestErrors;
use cafe_pipeline::stage::WorkError;
use cafe_stages::train::TrainError;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A defect.
    Internal(String),
    /// The arguments make no sense here; the second text says what to do.
    Usage(String, String),
    /// The manifest is wrong.
    Manifest(Box<ManifestErrors>),
    /// The manifest is right, but cannot be carried out as it is.
    Plan(String, String),
    /// Passes by itself: the same command again.
    Transient(String),
}

impl Failure {
    /// A usage failure.
    pub(crate) fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage(message.into(), help.into())
    }

    /// What happened, and what to do about it.
    pub(crate) fn into_texts(self) -> (String, Option<String>) {
        match self {
            Self::Internal(text) | Self::Transient(text) => (text, None),
            Self::Usage(text, help) | Self::Plan(text, help) => (text, Some(help)),
            Self::Manifest(errors) => (errors.lines(), None),
        }
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        let (text, help, code) = match self {
            Self::Internal(text) => (text.as_str(), "", 1),
            Self::Usage(text, help) => (text.as_str(), help.as_str(), 2),
            Self::Plan(text, help) => (text.as_str(), help.as_str(), 3),
            Self::Transient(text) => (text.as_str(), "run the same command again", 75),
            Self::Manifest(errors) => {
                report_manifest(errors);
                return ExitCode::from(3);
            }
        };
        eprintln!("error: {text}");
        if !help.is_empty() {
            eprintln!("  help: {help}");
        }
        ExitCode::from(code)
    }
}

/// Every mistake with the place in the text on a terminal, one line each elsewhere.
fn report_manifest(errors: &ManifestErrors) {
    use std::io::IsTerminal;
    if !std::io::stderr().is_terminal() {
        eprint!("{}", errors.lines());
        return;
    }
    let mut text = String::new();
    let handler = miette::GraphicalReportHandler::new().with_cause_chain();
    if handler.render_report(&mut text, errors).is_ok() {
        eprint!("{text}");
    } else {
        eprint!("{}", errors.lines());
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        let text = error.to_string();
        match error {
            CatalogError::Unusable { message, help } => Self::Plan(message, help),
            CatalogError::OtherPlanRunning { .. } => Self::Transient(format!("{text}; wait for it, or stop it first")),
            CatalogError::Transient(_) | CatalogError::DiskFull(_) => Self::Transient(text),
            CatalogError::Internal(_) => Self::Internal(text),
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        // What goes wrong with models is in their files, or in what is asked of them.
        Self::usage(error.to_string(), "")
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Engine(error) => error.into(),
            TrainError::Settings { message, help } => Self::Usage(message, help),
            TrainError::Pairs(error) => Self::usage(error.to_string(), "mend or remove it, or name other pairs"),
            error @ TrainError::Io { .. } => Self::usage(error.to_string(), "make room, or name another folder"),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let text = error.to_string();
        match error {
            RunError::Catalog(error) => error.into(),
            RunError::Listing { error: WorkError::Transient(_) | WorkError::DiskFull(_), .. } => Self::Transient(text),
            RunError::Listing { .. } => Self::Plan(text, "see the stage's source in the manifest".to_owned()),
            RunError::Internal(_) => Self::Internal(text),
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Catalog(error) => error.into(),
            error => Self::Transient(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Transient(error.to_string())
    }
}
