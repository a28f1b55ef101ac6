#pragma once

#include <filesystem>

namespace layalign::data {

/// Held by a rank while it gives a shard its name, and while it looks for those of others: two ranks that add the same texts at
/// once would replace each other's file between the shard and its manifest. Waits for whoever holds it. A file system that
/// cannot lock a folder goes without.
class Publication {
 public:
  explicit Publication(const std::filesystem::path& folder);
  ~Publication();
  Publication(const Publication&) = delete;
  Publication& operator=(const Publication&) = delete;

 private:
  int descriptor_;
};

}  // namespace layalign::data
