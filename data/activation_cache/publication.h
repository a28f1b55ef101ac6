#pragma once

#include <filesystem>

namespace layalign::data {

/// Held by a rank while it gives a shard its name, and by those that look for shards: two ranks that add the same texts at once
/// would replace each other's file between the shard and its manifest. Waits for whoever holds it; readers do not wait for
/// each other. A file system that cannot lock goes without.
class Publication {
 public:
  enum class Purpose { kGiveName, kLook };

  Publication(const std::filesystem::path& folder, Purpose purpose);
  ~Publication();
  Publication(const Publication&) = delete;
  Publication& operator=(const Publication&) = delete;

 private:
  int descriptor_;
};

}  // namespace layalign::data
