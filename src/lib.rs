pub use completeio_driver::{address, buf, clock, driver, op, sink};
