//! `convert`: a language model of llama.cpp becomes one in Hugging Face layout.

use std::io::Write;
use std::path::PathBuf;

use cafe_engine::EngineError;
use cafe_engine::language::gguf;

use crate::cli::ConvertArgs;
use crate::failure::Failure;

pub(super) fn run(args: &ConvertArgs) -> Result<u8, Failure> {
    let failed = |error: std::io::Error| Failure::from(EngineError::Io { path: args.output.clone(), source: error });
    if args.output.try_exists().map_err(failed)? {
        let message = format!("{} is there already", args.output.display());
        return Err(Failure::usage(message, "use it, or name another --output"));
    }
    // Under another name until it is whole: what has the name can be used, whenever this process dies.
    let mut partial = args.output.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // Of a process that died: another file's shards may be among it.
    match std::fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    gguf::convert(&args.gguf, &partial)?;
    std::fs::rename(&partial, &args.output).map_err(failed)?;
    writeln!(std::io::stdout().lock(), "{}", args.output.display())?;
    Ok(0)
}
