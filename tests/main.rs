//! The integration tests: the program and the real guests, in one binary.

mod docs;
mod protocols;
mod support;
mod tidy;
mod time_travel;
