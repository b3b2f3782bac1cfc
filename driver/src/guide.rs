//! Two pages to read once.

pub mod cancellation {
    //! How an operation ends.
}

pub mod safety {
    //! What the one `unsafe` call asks of you.
}
