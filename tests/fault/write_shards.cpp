// write_shards FOLDER NUMBER [half]: makes a small activation cache as a writer does, and dies at file operation NUMBER
// as by kill -9 (with `half` after half of a write's bytes); 0: lives, and prints how many operations that took.

#include <iostream>
#include <string>

#include "checkpoints_tools/file_operations.h"
#include "tests/fault/fault_cache.h"

int main(int count, char** arguments) {
  using namespace layalign;
  if (count < 3) return 2;
  const int64_t number = std::stoll(arguments[2]);
  if (number > 0) checkpoints_tools::set_file_hook(checkpoints_tools::kill_at(number, count > 3));
  const auto form = data::fault_form();
  const data::CacheWriteLock lock(arguments[1]);
  data::ActivationCache::create(arguments[1], form);
  const data::ActivationCache cache(arguments[1], form);
  for (const data::Texts& texts : data::fault_shards()) {
    if (!cache.find(data::cache_key(texts[0]))) data::add_shard(arguments[1], form, texts);
  }
  std::cout << checkpoints_tools::file_operation_count() << "\n";
}
