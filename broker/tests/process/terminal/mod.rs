//! Every command as a user meets it: typed in a real terminal, its screen read back.

mod screens;
mod tmux;
mod typed;
