//! The hold core: who may go on now, who waits in line, and in which order they go on again.
