//! The store of one node: logs and cursors in a data folder.
