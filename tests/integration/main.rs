//! End to end: the executor with stages made for the purpose, and the program itself.

mod crash;
mod faults;
mod power_cut;
mod support;
mod surface;
mod workers;
