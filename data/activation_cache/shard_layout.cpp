#include "data/activation_cache/shard_layout.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "checkpoints_tools/hash.h"
#include "data/activation_cache/form_file.h"
#include "data/error.h"

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kKeys = "keys";
constexpr const char* kTokenOffsets = "token_offsets";
constexpr const char* kTokenIds = "token_ids";
constexpr const char* kHashes = "hashes";
constexpr const char* kStates = "states";

Hdf5Number states_number(CacheDtype dtype) {
  switch (dtype) {
    case CacheDtype::kFloat32:
      return Hdf5Number::kFloat32;
    case CacheDtype::kBfloat16:
      return Hdf5Number::kUint16;
    case CacheDtype::kFloat8:
      return Hdf5Number::kUint8;
  }
  throw DataError("unknown dtype of an activation cache");
}

/// The datasets of a shard in their order, without values.
std::vector<Hdf5Plan> plans_for(const CacheForm& form, int64_t texts, int64_t tokens) {
  const Hdf5Number number = states_number(form.dtype);
  return {{kKeys, Hdf5Number::kUint64, {texts, 2}},
          {kTokenOffsets, Hdf5Number::kUint64, {texts + 1}},
          {kTokenIds, Hdf5Number::kUint32, {tokens}},
          {kHashes, Hdf5Number::kUint64, {texts, form.planes()}},
          {kStates, number, {tokens * form.token_bytes() / bytes_of(number)}}};
}

std::map<std::string, Hdf5Attribute> attributes_of(const CacheForm& form) {
  return {{"format", std::string(kShardFormat)},
          {"version", kCacheVersion},
          {"encoder_weights", form.encoder_weights},
          {"encoder_config", form.encoder_config},
          {"compute_precision", form.compute_precision},
          {"dtype", std::string(name_of(form.dtype))},
          {"layers", form.layers},
          {"width", form.width},
          {"tokenizer", form.tokenizer}};
}

/// As CacheKey lies in a file: high, low.
std::vector<uint64_t> words_of(std::span<const CacheKey> keys) {
  std::vector<uint64_t> words;
  for (const CacheKey& key : keys) words.insert(words.end(), {key.high, key.low});
  return words;
}

/// Checks a front and takes its numbers; messages name the file and the place.
class FrontReader {
 public:
  FrontReader(const fs::path& path, std::span<const std::byte> front, Hdf5Content content)
      : path_(path), front_(front), content_(std::move(content)) {}

  ShardFront read(const CacheForm& form, const ShardManifest& manifest) {
    ShardFront read;
    read.form = form_of_attributes();
    require_same_form(form, read.form, path_);
    require_datasets(read.form, manifest);
    read.states_offset = content_.datasets.at(kStates).offset;
    const auto words = numbers<uint64_t>(kKeys);
    for (size_t i = 0; i < words.size(); i += 2) read.texts.keys.push_back({words[i], words[i + 1]});
    for (uint64_t offset : numbers<uint64_t>(kTokenOffsets)) {
      read.texts.token_offsets.push_back(static_cast<int64_t>(offset));
    }
    read.texts.ids = numbers<uint32_t>(kTokenIds);
    read.hashes = numbers<uint64_t>(kHashes);
    require_texts(read.texts);
    return read;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw DataError(path_.string() + ": " + what + "; " + advice_for(path_));
  }

  template <typename Value>
  Value attribute(const std::string& name) const {
    const auto found = content_.attributes.find(name);
    if (found == content_.attributes.end()) refuse("the attribute '" + name + "' is missing");
    const Value* value = std::get_if<Value>(&found->second);
    if (!value) refuse("the attribute '" + name + "' has another type");
    return *value;
  }

  CacheForm form_of_attributes() const {
    if (attribute<std::string>("format") != kShardFormat) refuse("is no shard of an activation cache");
    const auto version = attribute<int64_t>("version");
    if (version != kCacheVersion) {
      refuse("format version " + std::to_string(version) + ", and this program reads version " +
             std::to_string(kCacheVersion));
    }
    CacheForm form;
    form.encoder_weights = attribute<std::string>("encoder_weights");
    form.encoder_config = attribute<std::string>("encoder_config");
    form.compute_precision = attribute<std::string>("compute_precision");
    form.layers = attribute<std::vector<int64_t>>("layers");
    form.width = attribute<int64_t>("width");
    form.tokenizer = attribute<std::string>("tokenizer");
    try {
      form.dtype = cache_dtype_named(attribute<std::string>("dtype"));
      require_sense(form, "its attributes");
    } catch (const DataError& error) {
      refuse(error.what());
    }
    return form;
  }

  void require_datasets(const CacheForm& form, const ShardManifest& manifest) const {
    if (manifest.tokens > manifest.file_bytes / form.token_bytes()) {
      refuse(std::to_string(manifest.tokens) + " tokens do not fit into " + std::to_string(manifest.file_bytes) +
             " bytes");
    }
    const auto plans = plans_for(form, manifest.texts, manifest.tokens);
    if (content_.datasets.size() != plans.size()) {
      refuse("holds " + std::to_string(content_.datasets.size()) + " datasets, expected " +
             std::to_string(plans.size()));
    }
    for (const Hdf5Plan& plan : plans) {
      const auto found = content_.datasets.find(plan.name);
      if (found == content_.datasets.end()) refuse("the dataset '" + plan.name + "' is missing");
      if (found->second.number != plan.number || found->second.shape != plan.shape) {
        refuse("the dataset '" + plan.name + "' has another type or shape than " + std::to_string(manifest.texts) +
               " texts of " + std::to_string(manifest.tokens) + " tokens need");
      }
      const bool states = plan.name == kStates;
      const int64_t begin = found->second.offset, end = begin + found->second.bytes;
      if (states ? begin != manifest.front_bytes || end != manifest.file_bytes : end > manifest.front_bytes) {
        refuse("the dataset '" + plan.name + "' lies at bytes " + std::to_string(begin) + " to " + std::to_string(end) +
               ", which is not its place");
      }
    }
  }

  template <typename Number>
  std::vector<Number> numbers(const char* name) const {
    const Hdf5Dataset& dataset = content_.datasets.at(name);
    std::vector<Number> values(static_cast<size_t>(dataset.bytes) / sizeof(Number));
    std::memcpy(values.data(), front_.data() + dataset.offset, static_cast<size_t>(dataset.bytes));
    return values;
  }

  void require_texts(const ShardTexts& texts) const {
    const auto& offsets = texts.token_offsets;
    for (size_t i = 0; i < offsets.size(); ++i) {
      if (i == 0 ? offsets[0] != 0 : offsets[i] <= offsets[i - 1]) {
        refuse("token_offsets[" + std::to_string(i) + "] is " + std::to_string(offsets[i]) + ", which is not behind " +
               (i == 0 ? "the beginning" : std::to_string(offsets[i - 1])));
      }
    }
    if (offsets.back() != static_cast<int64_t>(texts.ids.size())) refuse("token_offsets do not end with token_ids");
    for (int64_t text = 0; text < texts.texts(); ++text) {
      if (cache_key(texts.ids_of(text)) != texts.keys[text]) {
        refuse("keys[" + std::to_string(text) + "] is not the key of the text's token ids");
      }
    }
    const std::string name = shard_name(texts.keys);
    const std::string stem = path_.filename().string();
    if (!stem.starts_with(name + ".")) refuse("holds the texts of " + name + kShardSuffix + ", a file was renamed");
  }

  const fs::path& path_;
  std::span<const std::byte> front_;
  Hdf5Content content_;
};

}  // namespace

std::span<const uint32_t> ShardTexts::ids_of(int64_t text) const {
  return std::span(ids).subspan(token_offsets[text], token_offsets[text + 1] - token_offsets[text]);
}

std::string shard_name(std::span<const CacheKey> keys) {
  const auto words = words_of(keys);
  return kShardPrefix + checkpoints_tools::hex_of(checkpoints_tools::xxh3_64(std::as_bytes(std::span(words))));
}

Hdf5Front make_shard_front(const CacheForm& form, const ShardTexts& texts) {
  const auto keys = words_of(texts.keys);
  auto plans = plans_for(form, texts.texts(), texts.tokens());
  for (Hdf5Plan& plan : plans) {
    if (plan.name == kKeys) plan.values = std::as_bytes(std::span(keys));
    if (plan.name == kTokenOffsets) plan.values = std::as_bytes(std::span(texts.token_offsets));
    if (plan.name == kTokenIds) plan.values = std::as_bytes(std::span(texts.ids));
  }
  return make_hdf5_front(attributes_of(form), plans, kStatesAlignment);
}

const Hdf5Dataset& hashes_in(const std::map<std::string, Hdf5Dataset>& datasets) { return datasets.at(kHashes); }

std::vector<std::byte> read_front_bytes(const fs::path& path, int64_t bytes) {
  // O_NONBLOCK: opening a FIFO would wait for ever; it has no effect on regular files.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) refuse_access(path, "cannot be opened", errno);
  std::vector<std::byte> front(static_cast<size_t>(bytes));
  size_t done = 0;
  ssize_t part = 1;
  while (done < front.size() && part != 0) {
    part = ::pread(descriptor, front.data() + done, front.size() - done, static_cast<off_t>(done));
    if (part < 0 && errno == EINTR) continue;
    if (part < 0) break;
    done += static_cast<size_t>(part);
  }
  const int error = errno;
  ::close(descriptor);
  if (part < 0) refuse_access(path, "cannot be read at byte " + std::to_string(done), error);
  if (done < front.size()) {
    throw DataError(path.string() + ": ends at byte " + std::to_string(done) + "; " + advice_for(path));
  }
  return front;
}

ShardFront read_shard_front(const fs::path& path, const ShardManifest& manifest, const CacheForm& form) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (error) refuse_access(path, "cannot be opened", error.value());
  if (size != static_cast<uintmax_t>(manifest.file_bytes)) {
    throw DataError(path.string() + ": has " + std::to_string(size) + " bytes, its manifest says " +
                    std::to_string(manifest.file_bytes) + "; " + advice_for(path));
  }
  const auto front = read_front_bytes(path, manifest.front_bytes);
  if (checkpoints_tools::xxh3_hex(front) != manifest.front_xxh3) {
    throw DataError(path.string() + ": its first " + std::to_string(manifest.front_bytes) +
                    " bytes are not those of its manifest; " + advice_for(path));
  }
  Hdf5Content content;
  try {
    content = inspect_hdf5(path);
  } catch (const DataError& problem) {
    throw DataError(problem.what() + ("; " + advice_for(path)));
  }
  return FrontReader(path, front, std::move(content)).read(form, manifest);
}

}  // namespace layalign::data
