#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/mapped_file.h"
#include "checkpoints_tools/safetensors_checksum.h"
#include "checkpoints_tools/tensor_info.h"

namespace layalign::checkpoints_tools {

/// A safetensors file, read strictly: everything the header says is checked before anything is trusted.
///
/// The rules are those of the reference reader and a few more, listed in README.md of this folder.
/// Threads: reading is safe from many threads.
class SafetensorsFile {
 public:
  /// Opens, validates and maps the file; no tensor is copied yet. Where the metadata hold a checksum, as those of
  /// `write_safetensors` do, every byte is read and compared with it.
  /// Errors: `CheckpointError` naming the file, the tensor and the byte.
  explicit SafetensorsFile(std::filesystem::path path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  /// The strings of `__metadata__`; empty where the file has none.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  /// Whether the file has a checksum, which then fits.
  bool has_checksum() const { return metadata_.contains(kChecksumKey); }

  /// A copy in CPU memory, contiguous.
  /// Errors: `CheckpointError` where there is no such tensor, or a BOOL tensor holds other bytes than 0 and 1.
  at::Tensor read(const std::string& name) const;

  /// A copy of `[begin, end)` along `dim`, equal to `read(name).narrow(dim, begin, end - begin)`; only the slice is
  /// copied.
  /// Errors: as `read`, and where the slice does not lie inside the tensor.
  at::Tensor read_slice(const std::string& name, int64_t dim, int64_t begin, int64_t end) const;

  /// The length field and the header: the bytes before the first tensor.
  std::span<const std::byte> header() const { return bytes().first(data_begin_); }
  /// The whole file.
  std::span<const std::byte> bytes() const { return file_.bytes(); }

 private:
  const TensorInfo& info(const std::string& name) const;

  MappedFile file_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  uint64_t data_begin_ = 0;
};

/// Writes the tensors (any device, any strides) as one safetensors file, by way of a temporary file in the same folder
/// that is flushed to the disk and renamed: `path` holds either its old content or the whole new one.
///
/// `metadata` gets `format: pt` where it does not say a format, and the checksum. Tensors lie in the reference writer's
/// order (dtype, then name), so equal content gives equal bytes. Errors: `CheckpointError` for a name given twice, a
/// dtype that the format lacks, and every failure of the disk (with path and reason); the temporary file is then
/// removed.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace layalign::checkpoints_tools
