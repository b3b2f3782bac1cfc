//! What is special to this backend.
