//! Every room's settings, read from a directory of files, all problems at once.
