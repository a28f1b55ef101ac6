#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <random>
#include <unordered_set>
#include <utility>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/file_operations.h"
#include "checkpoints_tools/hash.h"
#include "data/activation_cache/cache_shard.h"
#include "data/activation_cache/publication.h"
#include "data/activation_cache/shard_layout.h"
#include "data/error.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;
using checkpoints_tools::FileWriter;

ShardTexts gather(const std::vector<std::vector<int64_t>>& texts) {
  if (texts.empty()) throw DataError("a shard of the activation cache needs at least one text");
  ShardTexts gathered;
  gathered.token_offsets.push_back(0);
  std::unordered_set<CacheKey> seen;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].empty()) throw DataError("text " + std::to_string(i) + " of a shard has no tokens");
    gathered.keys.push_back(cache_key(texts[i]));
    if (!seen.insert(gathered.keys.back()).second) {
      throw DataError("text " + std::to_string(i) + " of a shard, key " + to_string(gathered.keys.back()) +
                      ", is there twice");
    }
    for (int64_t id : texts[i]) gathered.ids.push_back(static_cast<uint32_t>(id));
    gathered.token_offsets.push_back(static_cast<int64_t>(gathered.ids.size()));
  }
  return gathered;
}

/// Two ranks may write a shard of the same texts at once: each has a file of its own until it is whole.
std::string unique_word() {
  std::random_device random;
  std::array<char, 9> word{};
  std::snprintf(word.data(), word.size(), "%08x", random());
  return word.data();
}

}  // namespace

struct ShardWriter::Impl {
  CacheForm form;
  ShardTexts texts;
  fs::path path, temporary;
  Hdf5Front front;
  std::vector<uint64_t> hashes;
  std::vector<char> written;  // a byte each: threads write texts at once
  std::optional<FileWriter> file;
  fs::path pending;  // to be removed where the shard is not committed

  std::span<std::byte> hash_bytes() {
    const Hdf5Dataset& place = hashes_in(front.datasets);
    return std::span(front.bytes).subspan(place.offset, place.bytes);
  }

  ShardManifest manifest() const {
    return {.file_bytes = front.file_bytes,
            .front_bytes = static_cast<int64_t>(front.bytes.size()),
            .front_xxh3 = checkpoints_tools::xxh3_hex(front.bytes),
            .texts = texts.texts(),
            .tokens = texts.tokens()};
  }

  /// What other processes will find: is it what was meant?
  void read_back() const {
    std::string problem;
    try {
      const ShardFront found = read_shard_front(temporary, manifest(), form);
      if (found.texts == texts && found.hashes == hashes) return;
      problem = temporary.string() + ": holds other texts than were written";
    } catch (const DataError& error) {
      problem = error.what();
    }
    throw checkpoints_tools::IoError("what was just written cannot be read back: " + problem);
  }

  /// Gives the file its name. The manifest of a shard of that name goes first: it belongs to the file that is replaced.
  void publish() {
    const Publication alone(path.parent_path(), Publication::Purpose::kGiveName);
    if (fs::exists(manifest_of(path))) {
      checkpoints_tools::remove_file(manifest_of(path));
      checkpoints_tools::flush_folder_of(path);
    }
    checkpoints_tools::rename_file(temporary, path);
    pending = path;
    checkpoints_tools::flush_folder_of(path);
    write_manifest(manifest_of(path), manifest());
    pending.clear();
  }
};

ShardWriter::ShardWriter(fs::path folder, const CacheForm& form, std::vector<std::vector<int64_t>> texts)
    : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.form = form;
  impl.texts = gather(texts);
  const std::string name = shard_name(impl.texts.keys);
  impl.path = folder / (name + kShardSuffix);
  impl.temporary = folder / (name + "." + unique_word() + kShardSuffix + kTemporarySuffix);
  impl.hashes.resize(impl.texts.keys.size() * form.layers.size());
  impl.written.resize(impl.texts.keys.size());
  impl.front = make_shard_front(form, impl.texts);
  impl.file = FileWriter::create(impl.temporary, impl.path);
  impl.pending = impl.temporary;
  try {
    impl.file->allocate(impl.front.file_bytes);  // a full disk is met here, before anything was computed
  } catch (...) {
    ::unlink(impl.temporary.c_str());
    throw;
  }
}

ShardWriter::~ShardWriter() {
  if (impl_->pending.empty()) return;
  if (impl_->pending == impl_->path) ::unlink(manifest_of(impl_->path).c_str());  // there, but perhaps not durable
  ::unlink(impl_->pending.c_str());
}

void ShardWriter::write(int64_t index, const at::Tensor& rows) {
  Impl& impl = *impl_;
  TORCH_CHECK(index >= 0 && index < impl.texts.texts(), "text ", index, " of a shard of ", impl.texts.texts());
  const int64_t planes = impl.form.planes(), row_bytes = impl.form.row_bytes();
  const int64_t begin = impl.texts.token_offsets[index], tokens = impl.texts.token_offsets[index + 1] - begin;
  TORCH_CHECK(
      rows.scalar_type() == at::kByte && rows.is_cpu() && rows.sizes() == at::IntArrayRef({planes, tokens, row_bytes}),
      "text ", index, ": expected uint8 rows [", planes, ", ", tokens, ", ", row_bytes, "] on the CPU, got ",
      rows.sizes(), " of ", rows.scalar_type());
  TORCH_CHECK(!impl.written[index], "text ", index, " of a shard is written twice");
  const at::Tensor block = rows.contiguous();
  const std::span bytes(static_cast<const std::byte*>(block.const_data_ptr()), block.nbytes());
  const auto plane_bytes = static_cast<size_t>(tokens * row_bytes);
  for (int64_t plane = 0; plane < planes; ++plane) {
    impl.hashes[index * planes + plane] = checkpoints_tools::xxh3_64(bytes.subspan(plane * plane_bytes, plane_bytes));
  }
  const auto states_begin = static_cast<int64_t>(impl.front.bytes.size());
  const int64_t offset = states_begin + begin * impl.form.token_bytes();
  impl.file->write_at(offset, bytes);
  impl.file->start_flush(offset, block.nbytes());
  impl.written[index] = true;
}

void ShardWriter::commit() {
  Impl& impl = *impl_;
  for (size_t i = 0; i < impl.written.size(); ++i)
    TORCH_CHECK(impl.written[i], "text ", i, " of a shard was not written");
  std::memcpy(impl.hash_bytes().data(), impl.hashes.data(), impl.hash_bytes().size());
  impl.file->write_at(0, impl.front.bytes);
  impl.file->flush();
  impl.file->close();
  impl.read_back();
  impl.publish();
}

int64_t ShardWriter::file_bytes() const { return impl_->front.file_bytes; }

const fs::path& ShardWriter::path() const { return impl_->path; }

}  // namespace layalign::data
