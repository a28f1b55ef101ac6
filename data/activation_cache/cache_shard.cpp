#include "data/activation_cache/cache_shard.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <system_error>
#include <utility>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/hash.h"
#include "data/activation_cache/shard_layout.h"
#include "data/error.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

/// Bytes of one read: few enough to be hashed while they are in the processor's cache.
constexpr int64_t kSliceBytes = 256 * 1024;
constexpr size_t kMaxPieces = 64;  // of one read
constexpr size_t kMostProblems = 20;  // after so many `verify` has seen enough of a shard
constexpr int64_t kLineBytes = 64;  // of the processor's cache

/// An open shard: what is known of it.
struct ShardState {
  fs::path path;
  CacheForm form;
  ShardManifest manifest;
  ShardFront front;
};

[[noreturn]] void refuse(const fs::path& path, const std::string& what) {
  throw DataError(path.string() + ": " + what + "; " + advice_for(path));
}

/// The file that a thread has read from last. It stays open for the next text, which mostly lies behind: opening a file takes as
/// long as reading a short text. No number of shards runs out of descriptors.
class LastFile {
 public:
  LastFile() = default;
  LastFile(const LastFile&) = delete;
  LastFile& operator=(const LastFile&) = delete;
  ~LastFile() { close(); }

  /// The descriptor of a file of so many bytes that is there, under this name, now.
  int open(const fs::path& path, int64_t bytes) {
    if (path == path_ && is_whole(bytes)) return descriptor_;
    close();
    descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor_ < 0) refuse_access(path, "cannot be opened", errno);
    path_ = path;
    if (!is_whole(bytes)) {
      refuse(path, "has " + std::to_string(status_.st_size) + " bytes, its manifest says " + std::to_string(bytes));
    }
    return descriptor_;
  }

 private:
  /// A file that was removed or replaced has no name any more.
  bool is_whole(int64_t bytes) {
    return ::fstat(descriptor_, &status_) == 0 && status_.st_nlink > 0 && status_.st_size == bytes;
  }
  void close() {
    if (descriptor_ >= 0) ::close(descriptor_);
    descriptor_ = -1;
    path_.clear();
  }

  fs::path path_;
  int descriptor_ = -1;
  struct stat status_ {};
};

/// The file of a shard while a text is read.
class OpenShard {
 public:
  OpenShard(const fs::path& path, int64_t bytes) : path_(path) {
    thread_local LastFile file;
    descriptor_ = file.open(path, bytes);
  }

  /// Reads bytes that lie together in the file into the pieces.
  void read(std::span<iovec> pieces, int64_t offset) const {
    while (!pieces.empty()) {
      const ssize_t got = ::preadv(descriptor_, pieces.data(), static_cast<int>(pieces.size()), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) refuse_access(path_, "cannot be read at byte " + std::to_string(offset), errno);
      if (got == 0) refuse(path_, "ends at byte " + std::to_string(offset));
      offset += got;
      auto left = static_cast<size_t>(got);
      while (!pieces.empty() && left >= pieces.front().iov_len) {
        left -= pieces.front().iov_len;
        pieces = pieces.subspan(1);
      }
      if (!pieces.empty()) {
        pieces.front().iov_base = static_cast<std::byte*>(pieces.front().iov_base) + left;
        pieces.front().iov_len -= left;
      }
    }
  }

 private:
  const fs::path& path_;
  int descriptor_;
};

/// Where bytes are read to whose place in the file and in memory differ within a cache line: the system then copies at half its
/// rate, and going through here takes the processor's cache only. One of each thread.
class AlignedSlice {
 public:
  /// The bytes, until the next call. At most kSliceBytes.
  std::span<const std::byte> read(const OpenShard& file, int64_t offset, int64_t bytes) {
    const int64_t lead = offset % kLineBytes;
    iovec piece{memory_.data(), static_cast<size_t>(lead + bytes)};
    file.read({&piece, 1}, offset - lead);
    return std::span<const std::byte>(memory_).subspan(static_cast<size_t>(lead), static_cast<size_t>(bytes));
  }

 private:
  alignas(kLineBytes) std::array<std::byte, kSliceBytes + kLineBytes> memory_;
};

/// Reads planes of one text and checks them.
class TextReader {
 public:
  TextReader(const Shard& shard, const ShardState& state, int64_t text)
      : state_(state),
        text_(text),
        plane_bytes_(shard.tokens_of(text) * state.form.row_bytes()),
        block_offset_(shard.block_offset(text)),
        file_(state.path, state.manifest.file_bytes) {}

  void read(std::span<const int64_t> planes, std::byte* target, int64_t stride_bytes) const {
    for (size_t i = 0; i < planes.size();) {
      if (plane_bytes_ > kSliceBytes) {
        read_large(planes[i], target + static_cast<int64_t>(i) * stride_bytes);
        ++i;
        continue;
      }
      size_t count = 1;  // planes that lie together and fit into one read
      while (i + count < planes.size() && planes[i + count] == planes[i] + static_cast<int64_t>(count) &&
             count < kMaxPieces && static_cast<int64_t>(count + 1) * plane_bytes_ <= kSliceBytes) {
        ++count;
      }
      read_together(planes[i], count, target + static_cast<int64_t>(i) * stride_bytes, stride_bytes);
      i += count;
    }
  }

 private:
  int64_t offset_of(int64_t plane) const { return block_offset_ + plane * plane_bytes_; }

  /// Whether every plane begins with a cache line, in the file as in memory.
  bool is_aligned() const { return state_.form.row_bytes() % kLineBytes == 0; }

  static AlignedSlice& slice() {
    thread_local const auto slice = std::make_unique<AlignedSlice>();
    return *slice;
  }

  void read_together(int64_t plane, size_t count, std::byte* target, int64_t stride_bytes) const {
    if (!is_aligned()) return read_through_slice(plane, count, target, stride_bytes);
    std::array<iovec, kMaxPieces> pieces;
    for (size_t i = 0; i < count; ++i) {
      pieces[i] = {target + static_cast<int64_t>(i) * stride_bytes, static_cast<size_t>(plane_bytes_)};
    }
    file_.read(std::span(pieces).first(count), offset_of(plane));
    for (size_t i = 0; i < count; ++i) {
      const std::span bytes(target + static_cast<int64_t>(i) * stride_bytes, static_cast<size_t>(plane_bytes_));
      compare(plane + static_cast<int64_t>(i), checkpoints_tools::xxh3_64(bytes));
    }
  }

  void read_through_slice(int64_t plane, size_t count, std::byte* target, int64_t stride_bytes) const {
    const auto all = slice().read(file_, offset_of(plane), static_cast<int64_t>(count) * plane_bytes_);
    for (size_t i = 0; i < count; ++i) {
      const auto bytes = all.subspan(i * static_cast<size_t>(plane_bytes_), static_cast<size_t>(plane_bytes_));
      std::copy(bytes.begin(), bytes.end(), target + static_cast<int64_t>(i) * stride_bytes);
      compare(plane + static_cast<int64_t>(i), checkpoints_tools::xxh3_64(bytes));
    }
  }

  void read_large(int64_t plane, std::byte* target) const {
    checkpoints_tools::Xxh3Short hash;
    for (int64_t done = 0; done < plane_bytes_; done += kSliceBytes) {
      const auto size = static_cast<size_t>(std::min(kSliceBytes, plane_bytes_ - done));
      const int64_t offset = offset_of(plane) + done;
      if (is_aligned()) {
        iovec piece{target + done, size};
        file_.read({&piece, 1}, offset);
      } else {
        const auto bytes = slice().read(file_, offset, static_cast<int64_t>(size));
        std::copy(bytes.begin(), bytes.end(), target + done);
      }
      hash.update({target + done, size});
    }
    compare(plane, hash.value());
  }

  void compare(int64_t plane, uint64_t hash) const {
    if (hash == state_.front.hashes[text_ * state_.form.planes() + plane]) return;
    refuse(state_.path, "the states of layer " + std::to_string(state_.form.layers[plane]) + " of the text " +
                            to_string(state_.front.texts.keys[text_]) + " (bytes " + std::to_string(offset_of(plane)) +
                            " to " + std::to_string(offset_of(plane) + plane_bytes_) +
                            ") are not those that were written");
  }

  const ShardState& state_;
  int64_t text_;
  int64_t plane_bytes_;
  int64_t block_offset_;
  OpenShard file_;
};

}  // namespace

struct Shard::Impl : ShardState {};

Shard::Shard(const fs::path& manifest, const CacheForm& form) : impl_(std::make_unique<Impl>()) {
  impl_->path = shard_of(manifest);
  impl_->form = form;
  impl_->manifest = read_manifest(manifest);
  impl_->front = read_shard_front(impl_->path, impl_->manifest, form);
}

Shard::Shard(Shard&&) noexcept = default;
Shard& Shard::operator=(Shard&&) noexcept = default;
Shard::~Shard() = default;

const fs::path& Shard::path() const { return impl_->path; }
int64_t Shard::texts() const { return impl_->front.texts.texts(); }
int64_t Shard::tokens() const { return impl_->front.texts.tokens(); }
int64_t Shard::file_bytes() const { return impl_->manifest.file_bytes; }
const CacheKey& Shard::key(int64_t text) const { return impl_->front.texts.keys[text]; }
std::span<const uint32_t> Shard::ids(int64_t text) const { return impl_->front.texts.ids_of(text); }

int64_t Shard::tokens_of(int64_t text) const {
  const auto& offsets = impl_->front.texts.token_offsets;
  return offsets[text + 1] - offsets[text];
}

int64_t Shard::block_offset(int64_t text) const {
  return impl_->front.states_offset + impl_->front.texts.token_offsets[text] * impl_->form.token_bytes();
}

void Shard::read(int64_t text, std::span<const int64_t> planes, std::span<std::byte> target) const {
  const int64_t plane_bytes = tokens_of(text) * impl_->form.row_bytes();
  TORCH_CHECK(static_cast<int64_t>(target.size()) == static_cast<int64_t>(planes.size()) * plane_bytes,
              "expected room for ", planes.size(), " planes of ", plane_bytes, " bytes, got ", target.size(), " bytes");
  read(text, planes, target.data(), plane_bytes);
}

void Shard::read(int64_t text, std::span<const int64_t> planes, std::byte* target, int64_t stride_bytes) const {
  for (int64_t plane : planes) {
    TORCH_CHECK(plane >= 0 && plane < impl_->form.planes(), "plane ", plane, " of ", impl_->form.planes());
  }
  TextReader(*this, *impl_, text).read(planes, target, stride_bytes);
}

std::vector<std::string> Shard::verify() const {
  std::vector<std::string> problems;
  const auto attempt = [&](auto work) {
    try {
      work();
    } catch (const DataError& error) {
      problems.emplace_back(error.what());
    }
  };
  attempt([&] {
    const fs::path manifest = manifest_of(impl_->path);
    if (read_manifest(manifest) != impl_->manifest)
      throw DataError(manifest.string() + ": has changed since it was opened");
    read_shard_front(impl_->path, impl_->manifest, impl_->form);
  });
  std::vector<std::byte> plane_bytes;
  for (int64_t text = 0; text < texts() && problems.size() < kMostProblems; ++text) {
    plane_bytes.resize(static_cast<size_t>(tokens_of(text) * impl_->form.row_bytes()));
    // One by one: a message for each plane that is damaged.
    for (int64_t plane = 0; plane < impl_->form.planes(); ++plane) {
      attempt([&] { read(text, {&plane, 1}, plane_bytes); });
    }
  }
  return problems;
}

}  // namespace layalign::data
