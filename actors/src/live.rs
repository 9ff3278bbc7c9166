//! Something that may be replaced while others use it: settings, an agent, doors. Whoever reads has what was in force at that moment, for as
//! long as they hold it.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A value in force. It is never changed in place, so nobody sees half of two.
pub struct Live<T: ?Sized>(RwLock<Arc<T>>);

impl<T: ?Sized> Live<T> {
    /// Puts the first value in force.
    pub fn new(first: Arc<T>) -> Self {
        Self(RwLock::new(first))
    }

    /// What is in force now.
    pub fn now(&self) -> Arc<T> {
        // A pointer is whole, whoever panicked beside it.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts another value in force.
    pub fn replace(&self, next: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().fmt(f)
    }
}
