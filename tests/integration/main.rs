//! End to end: the executor with stages made for the purpose, and the program itself.

mod power_cut;
mod support;
mod workers;
