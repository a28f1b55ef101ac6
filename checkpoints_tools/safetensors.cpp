#include "checkpoints_tools/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <span>
#include <utility>

#include "checkpoints_tools/atomic_file.h"
#include "checkpoints_tools/safetensors_checksum.h"
#include "checkpoints_tools/safetensors_header.h"
#include "checkpoints_tools/torch_dtype.h"

namespace layalign::checkpoints_tools {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw CheckpointError(path.string() + ": " + what);
}

/// Other bytes in a bool are undefined behaviour in C++.
void check_bools(const at::Tensor& tensor, const std::filesystem::path& path, const std::string& name) {
  if (tensor.scalar_type() != at::kBool || tensor.numel() == 0) return;
  const auto* bytes = static_cast<const uint8_t*>(tensor.const_data_ptr());
  const auto* bad = std::find_if(bytes, bytes + tensor.numel(), [](uint8_t byte) { return byte > 1; });
  if (bad != bytes + tensor.numel()) {
    fail(path, "tensor " + in_quotes(name) + ": element " + std::to_string(bad - bytes) + " of this BOOL tensor is " +
                   std::to_string(*bad) + ", expected 0 or 1; the file is damaged, copy it again");
  }
}

}  // namespace

SafetensorsFile::SafetensorsFile(std::filesystem::path path) : file_(std::move(path)) {
  SafetensorsHeader header = parse_header(file_.bytes(), file_.path());
  if (const auto given = header.metadata.find(kChecksumKey); given != header.metadata.end()) {
    Xxh3 hash = begin_checksum(header);
    hash.update(bytes().subspan(header.data_begin));
    if (const std::string got = hash.hex(); got != given->second) {
      fail(file_.path(),
           "damaged: its content has the XXH3-128 " + got + ", its metadata say " + in_quotes(given->second) +
               "; copy it again. Where another program changed it and kept the metadata, save it without " +
               in_quotes(kChecksumKey));
    }
  }
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
  data_begin_ = header.data_begin;
}

const TensorInfo& SafetensorsFile::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    fail(path(), "has no tensor " + in_quotes(name) + " among its " + std::to_string(tensors_.size()));
  }
  return found->second;
}

at::Tensor SafetensorsFile::read(const std::string& name) const {
  const TensorInfo& tensor = info(name);
  at::Tensor result = at::empty(tensor.shape, torch_type(*find_dtype(tensor.dtype)));
  if (tensor.end > tensor.begin) {
    std::memcpy(result.mutable_data_ptr(), bytes().data() + tensor.begin, tensor.end - tensor.begin);
  }
  check_bools(result, path(), name);
  return result;
}

at::Tensor SafetensorsFile::read_slice(const std::string& name, int64_t dim, int64_t begin, int64_t end) const {
  const TensorInfo& tensor = info(name);
  std::vector<int64_t> shape = tensor.shape;
  const auto rank = static_cast<int64_t>(shape.size());
  if (dim < 0 || dim >= rank || begin < 0 || begin > end || end > shape[dim]) {
    fail(path(), "tensor " + in_quotes(name) + ": expected a slice inside its shape " +
                     c10::str(c10::IntArrayRef(shape)) + ", got [" + std::to_string(begin) + ", " +
                     std::to_string(end) + ") of dimension " + std::to_string(dim));
  }
  const SafetensorsDtype& dtype = *find_dtype(tensor.dtype);
  // Seen as [rows, shape[dim], inner], of which each row gives one run of bytes.
  const auto product = [](auto first, auto last) {
    return std::accumulate(first, last, int64_t{1}, std::multiplies<>());
  };
  const int64_t rows = product(shape.begin(), shape.begin() + dim);
  const int64_t inner_bytes = product(shape.begin() + dim + 1, shape.end()) * static_cast<int64_t>(dtype.bytes);
  const int64_t row_bytes = shape[dim] * inner_bytes;
  const int64_t run_bytes = (end - begin) * inner_bytes;
  shape[dim] = end - begin;
  at::Tensor result = at::empty(shape, torch_type(dtype));
  if (result.numel() == 0) return result;
  const std::byte* source = bytes().data() + tensor.begin + begin * inner_bytes;
  auto* target = static_cast<std::byte*>(result.mutable_data_ptr());
  for (int64_t row = 0; row < rows; ++row) {
    std::memcpy(target + row * run_bytes, source + row * row_bytes, static_cast<size_t>(run_bytes));
  }
  check_bools(result, path(), name);
  return result;
}

namespace {

struct Entry {
  const std::string* name;
  const at::Tensor* tensor;
  const SafetensorsDtype* dtype;
};

/// The tensors in the order of the file, each known to be writable.
std::vector<Entry> in_file_order(const std::filesystem::path& path,
                                 const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<Entry> entries;
  std::set<std::string_view> names;
  for (const auto& [name, tensor] : tensors) {
    if (!names.insert(name).second) fail(path, "cannot write tensor " + in_quotes(name) + ": the name is given twice");
    if (name == kMetadataKey) fail(path, "cannot write a tensor named __metadata__: the format reserves the name");
    if (!tensor.defined() || tensor.layout() != at::kStrided) {
      fail(path,
           "cannot write tensor " + in_quotes(name) + ": expected a dense tensor, got an undefined or sparse one");
    }
    const SafetensorsDtype* dtype = find_dtype(tensor.scalar_type());
    if (!dtype) {
      fail(path, "cannot write tensor " + in_quotes(name) + ": its dtype " + c10::toString(tensor.scalar_type()) +
                     " is not supported, convert it");
    }
    entries.push_back({&name, &tensor, dtype});
  }
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return a.dtype != b.dtype ? a.dtype > b.dtype : *a.name < *b.name;
  });
  return entries;
}

std::string json_string(const std::filesystem::path& path, const std::string& text) {
  try {
    return nlohmann::json(text).dump();
  } catch (const nlohmann::json::exception&) {
    fail(path, "cannot write " + in_quotes(text) + ": it is not valid UTF-8");
  }
}

/// What the header says, without the checksum; offsets count from the first tensor.
SafetensorsHeader plan_header(const std::vector<Entry>& entries, const std::map<std::string, std::string>& metadata) {
  SafetensorsHeader header;
  header.metadata = metadata;
  header.metadata.try_emplace("format", "pt");
  uint64_t offset = 0;
  for (const auto& [name, tensor, dtype] : entries) {
    const uint64_t end = offset + static_cast<uint64_t>(tensor->numel()) * dtype->bytes;
    header.tensors.emplace(*name, TensorInfo{std::string(dtype->name), tensor->sizes().vec(), offset, end});
    offset = end;
  }
  return header;
}

/// The header as it is written.
std::string text_of(const std::filesystem::path& path, const std::vector<Entry>& entries,
                    const SafetensorsHeader& header) {
  std::string text = c10::str("{\"", kMetadataKey, "\":{");
  for (const auto& [key, value] : header.metadata) {
    if (text.back() != '{') text += ',';
    text += json_string(path, key) + ":" + json_string(path, value);
  }
  text += '}';
  for (const Entry& entry : entries) {
    const TensorInfo& tensor = header.tensors.at(*entry.name);
    text += c10::str(",", json_string(path, *entry.name), R"(:{"dtype":")", tensor.dtype, R"(","shape":)",
                     nlohmann::json(tensor.shape).dump(), R"(,"data_offsets":[)", tensor.begin, ",", tensor.end, "]}");
  }
  text += '}';
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the tensors begin at a multiple of 8
  if (text.size() > kMaxHeaderBytes) {
    fail(path, "cannot write a header of " + std::to_string(text.size()) + " bytes, the format's limit is " +
                   std::to_string(kMaxHeaderBytes) + "; use fewer tensors or less metadata");
  }
  return text;
}

std::span<const std::byte> bytes_of(const at::Tensor& dense) {
  return {static_cast<const std::byte*>(dense.const_data_ptr()), dense.nbytes()};
}

}  // namespace

void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::vector<Entry> entries = in_file_order(path, tensors);
  SafetensorsHeader header = plan_header(entries, metadata);
  Xxh3 hash = begin_checksum(header);
  std::vector<at::Tensor> dense;  // in CPU memory, so that what is hashed is what is written
  for (const Entry& entry : entries) {
    hash.update(bytes_of(dense.emplace_back(entry.tensor->detach().to(at::kCPU).resolve_neg().contiguous())));
  }
  header.metadata[kChecksumKey] = hash.hex();
  const std::string text = text_of(path, entries, header);
  std::array<std::byte, kLengthBytes> length;
  for (size_t i = 0; i < kLengthBytes; ++i) length[i] = static_cast<std::byte>(text.size() >> (8 * i) & 0xff);

  AtomicFile file(path);
  file.write(length);
  file.write(text);
  for (const at::Tensor& tensor : dense) file.write(bytes_of(tensor));
  file.commit();
}

}  // namespace layalign::checkpoints_tools
