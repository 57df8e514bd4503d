//! The program as a stranger uses it: what it exits with, what it says, where it runs, what it keeps.

mod bisect;
mod container;
mod input;
mod manual;
mod status;
mod store;
