#pragma once

#include <string>

/// What people see: lines on stdout and stderr, and one status line (the progress bar) below them on a terminal.
/// Threads: every function may be called from any thread.
namespace layalign::trainer {

/// "rank 03/08 tp1 dp0"; empty in a world of one, where it would say nothing.
std::string make_rank_tag(int world_rank, int world_size, int tp_rank, int dp_rank);

/// Sets the form of the lines, `[time] [rank_tag] [info] message`, and who speaks: information comes from the first
/// rank only, warnings and errors from all. Without this call the process logs like a first rank without a tag. Colours
/// only on a terminal.
void set_up_log(const std::string& rank_tag, bool is_first_rank);

/// One line on stdout, on the first rank.
void log_info(const std::string& message);
/// One line on stderr, on every rank.
void log_warn(const std::string& message);
/// One line on stderr, on every rank.
void log_error(const std::string& message);

/// True where stdout ends in front of a person. mpirun gives its ranks a pseudo-terminal without a size, also when its
/// own output goes to a file: then the stdout of the parent process decides.
bool stdout_is_terminal();

/// Columns of the terminal behind stdout; 80 where there is none.
int stdout_width();

/// Puts `text` (ASCII, cut to the terminal's width) below the log lines until the next call; empty text removes it.
/// For terminals only.
void show_status_line(const std::string& text);

}  // namespace layalign::trainer
