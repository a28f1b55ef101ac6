#pragma once

#include <filesystem>

namespace layalign::data {

/// Opens a file that writers of a cache lock; makes it where it is missing. Whoever may write into the folder may lock it, too: a
/// file of this user gets the owner, the group and the write permissions of its folder as far as the system lets it.
/// Returns the descriptor, for reading and writing; -1: errno says why.
int open_lock_file(const std::filesystem::path& path);

}  // namespace layalign::data
