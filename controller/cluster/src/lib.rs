//! The Kubernetes side of the controller: a client that never retries a write and has a deadline on every call, objects by
//! key with classified answers, and leader election whose lease gates every write.

pub mod gate;
pub mod lease;
pub mod object;
pub mod stack;

#[cfg(test)]
mod testing;
