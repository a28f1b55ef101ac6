#pragma once

#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>

#include "checkpoints_tools/error.h"
#include "trainer/error.h"

namespace layalign::trainer {

/// Writes all of `text` to an open file, however often the system writes only a part of it.
/// Errors: IoError with `path`, such as for a full disk.
void write_all(int descriptor, std::string_view text, const std::filesystem::path& path);

/// Runs `work`, which reads or writes files of the run with tools of other rooms, and turns what those throw into an
/// IoError: where a run meets its own files, a failure is the disk's and not the input's.
template <class Work>
auto as_io_error(Work work) -> decltype(work()) {
  try {
    return work();
  } catch (const checkpoints_tools::CheckpointError& error) {
    throw IoError(error.what());
  } catch (const std::system_error& error) {
    throw IoError(error.what());
  }
}

/// Replaces the file by `text` so that a crash at any moment leaves the old content or the new one, never a mixture.
/// Errors: IoError with the path; the old content is then untouched.
void write_file_durably(const std::filesystem::path& path, std::string_view text);

/// The name that `path` had before write_folder_durably began to replace it, where it is the older one of such a folder; else itself.
std::filesystem::path name_of_replaced(const std::filesystem::path& path);

/// Makes a folder that is whole whenever the process is killed or the power fails: `write` fills `TARGET.tmp` with files that are durable, which then gets
/// the name, in place of an older folder of that name. Where `write` fails nothing is left behind. Where the file system cannot exchange
/// two names the older one is for a moment to be found under another name only (name_of_replaced).
/// Errors: IoError; an older folder is then untouched.
void write_folder_durably(const std::filesystem::path& target,
                          const std::function<void(const std::filesystem::path& folder)>& write);

}  // namespace layalign::trainer
