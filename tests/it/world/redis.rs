//! Real Redis servers, started and stopped by tests.
