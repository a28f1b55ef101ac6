#pragma once

#include <filesystem>
#include <string>

namespace layalign::checkpoints_tools {

/// What came of an attempt to lock a file.
enum class FileLock {
  kHeld,     ///< until the descriptor is closed
  kTaken,    ///< by another descriptor, here or on another node
  kMissing,  ///< the file system has no locks, as Lustre without its mount option flock: nothing keeps others out
};

/// Locks an open file for its writer alone (flock), without waiting. Errors: IoError with the path.
FileLock lock_file(int descriptor, const std::filesystem::path& path);

/// For whoever goes on where the lock is missing: "PATH: this file system has no file locks; ...".
std::string missing_lock_note(const std::filesystem::path& path);

}  // namespace layalign::checkpoints_tools
