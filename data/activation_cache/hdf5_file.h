#pragma once

// What this project needs of HDF5: files whose root group holds attributes and contiguous datasets of numbers, nothing
// else. HDF5 itself is in hdf5_file.cpp only.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace layalign::data {

/// A number in a dataset: little endian.
enum class Hdf5Number { kUint8, kUint16, kUint32, kUint64, kFloat32 };

/// "uint8" and so on.
std::string_view name_of(Hdf5Number number);
int64_t bytes_of(Hdf5Number number);

/// An attribute: a text (fixed length, UTF-8, padded with zeros), an int64, or a list of them.
using Hdf5Attribute = std::variant<std::string, int64_t, std::vector<int64_t>>;

/// Where and what a dataset is.
struct Hdf5Dataset {
  Hdf5Number number = Hdf5Number::kUint8;
  std::vector<int64_t> shape;
  int64_t offset = 0;  ///< of its first byte in the file
  int64_t bytes = 0;
};

/// A dataset to be made.
struct Hdf5Plan {
  std::string name;
  Hdf5Number number = Hdf5Number::kUint8;
  std::vector<int64_t> shape;              ///< no dimension is 0
  std::span<const std::byte> values = {};  ///< empty: room only
};

/// The beginning of an HDF5 file whose last datasets, one or more, are not written yet and reach to the end of the file.
struct Hdf5Front {
  std::vector<std::byte> bytes;  ///< everything before these
  std::map<std::string, Hdf5Dataset> datasets;
  int64_t file_bytes = 0;  ///< of the whole file
};

/// Makes a file in the format of HDF5 1.10, datasets in the given order, the last ones (`behind` of them) at multiples of
/// `alignment_bytes` behind the front. In memory: what HDF5 says of a full disk cannot be relied upon (its close succeeds), so it does
/// not write files here. Errors: DataError with HDF5's reasons.
Hdf5Front make_hdf5_front(const std::map<std::string, Hdf5Attribute>& attributes, const std::vector<Hdf5Plan>& plans,
                          int64_t alignment_bytes, size_t behind = 1);

/// What a file holds.
struct Hdf5Content {
  std::map<std::string, Hdf5Attribute> attributes;
  std::map<std::string, Hdf5Dataset> datasets;
};

/// Reads the metadata of a file. HDF5 is not made for hostile files: give it only what a hash vouches for. No lock is
/// taken on the file, so that it can be read on file systems without locks (HDF5_USE_FILE_LOCKING decides otherwise).
/// Errors: DataError where HDF5 cannot read it, or where it holds anything but the above: groups, soft or external
/// links, external storage, chunks, filters, other types, data outside of the file.
Hdf5Content inspect_hdf5(const std::filesystem::path& path);

}  // namespace layalign::data
