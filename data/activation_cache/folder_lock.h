#pragma once

#include <filesystem>
#include <string>

namespace layalign::data {

/// An attempt to lock a cache folder.
struct FolderLock {
  int descriptor = -1;  ///< holds the lock until it is closed; -1: another descriptor has it
  bool missing = false; ///< the file system has no locks: the descriptor keeps nobody out
  std::string holder;   ///< then: who
  bool ours = false;    ///< then: this process
};

/// Tries to lock `folder/.lock`, makes both where they are missing; does not wait.
/// Errors: checkpoints_tools::IoError.
FolderLock lock_folder(const std::filesystem::path& folder);

}  // namespace layalign::data
