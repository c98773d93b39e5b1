//! End to end: the executor with stages made for the purpose, and the program itself.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod assistant;
mod benchmark;
mod crash;
mod dialogue;
mod doctor;
mod export;
mod faults;
mod fetch;
mod fetch_refused;
mod imagine;
mod keep_rejects;
mod mini;
mod models;
mod power_cut;
mod previews;
mod profusion;
mod quickstart;
mod report;
mod review;
mod score;
mod sid_round;
mod support;
mod surface;
mod synthesize;
mod verify;
mod wheels;
mod workers;
