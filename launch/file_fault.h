#pragma once

namespace layalign::launch {

/// For tests of crashes and full disks: where the environment holds LAYALIGN_FILE_FAULT=KIND:N, the N-th change of a file or folder
/// by this process goes wrong. KIND is kill (as by kill -9), half (a write is cut there), short (the system takes half of a write
/// at first, which is no error), ENOSPC or EIO. Errors: ConfigError for anything else.
void inject_file_fault();

}  // namespace layalign::launch
