//! What goes wrong on a host: recorders that are killed, files that are damaged, disks that are full, memory that
//! changes by itself. Carried by the demonstration kernel, which is small and real.

mod corrupt;
mod disk;
mod forged;
mod kill;
mod memory;
mod signals;
