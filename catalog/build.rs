//! Builds the crate anew when a migration is added: the macro that embeds them only watches those it has seen.

#![expect(clippy::print_stdout, reason = "it is how a build script speaks to cargo")]

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
