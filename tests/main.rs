//! The integration tests: the program and the real guests, in one binary.

mod privmatrix;
