#include "data/activation_cache/hdf5_file.h"

#define H5_USE_110_API  // newer libraries: the functions of 1.10
#include <c10/util/Exception.h>
#include <hdf5.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <type_traits>
#include <utility>

#include "checkpoints_tools/error.h"
#include "data/error.h"

static_assert(std::endian::native == std::endian::little, "activation caches hold little-endian numbers");

namespace layalign::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxAttributeBytes = 64 * 1024;  // what HDF5 keeps in an object header

/// HDF5 has refused something; what() is its reason.
class Hdf5Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

herr_t collect(unsigned, const H5E_error2_t* error, void* text) {
  auto& reasons = *static_cast<std::string*>(text);
  if (error->desc && *error->desc) reasons += (reasons.empty() ? "" : ", ") + std::string(error->desc);
  return 0;
}

/// The result of a call of HDF5. Errors: Hdf5Error with HDF5's error stack, innermost reason first.
template <typename Result>
Result checked(Result result, const char* what) {
  if (result >= 0) return result;
  std::string reasons;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, collect, &reasons);
  H5Eclear2(H5E_DEFAULT);
  throw Hdf5Error(std::string("HDF5 cannot ") + what + (reasons.empty() ? "" : " (" + reasons + ")"));
}

/// An identifier of HDF5, closed at the end of its scope.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle(hid_t id, Close close, const char* what) : id_(checked(id, what)), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&&) = delete;
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }
  /// Closes it now, to hear of errors.
  void close(const char* what) { checked(close_(std::exchange(id_, -1)), what); }

 private:
  hid_t id_;
  Close close_;
};

/// Of the whole library: not every build of it is safe for threads.
std::mutex hdf5_mutex;

/// Runs calls of HDF5: one thread at a time; it prints nothing and loads no plug-ins.
template <typename Work>
auto with_hdf5(Work work) {
  const std::lock_guard lock(hdf5_mutex);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLset_loading_state(0);
  return work();
}

hid_t file_type(Hdf5Number number) {
  switch (number) {
    case Hdf5Number::kUint8:
      return H5T_STD_U8LE;
    case Hdf5Number::kUint16:
      return H5T_STD_U16LE;
    case Hdf5Number::kUint32:
      return H5T_STD_U32LE;
    case Hdf5Number::kUint64:
      return H5T_STD_U64LE;
    case Hdf5Number::kFloat32:
      return H5T_IEEE_F32LE;
  }
  return H5I_INVALID_HID;
}

constexpr std::array kNumbers = {Hdf5Number::kUint8, Hdf5Number::kUint16, Hdf5Number::kUint32, Hdf5Number::kUint64,
                                 Hdf5Number::kFloat32};

void write_attribute(hid_t file, const std::string& name, const Hdf5Attribute& attribute) {
  const auto write = [&](hid_t type, hid_t space, const void* value) {
    const Handle handle(H5Acreate2(file, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                        "make an attribute");
    checked(H5Awrite(handle, type, value), "write an attribute");
  };
  if (const auto* list = std::get_if<std::vector<int64_t>>(&attribute)) {
    const hsize_t size = list->size();
    const Handle space(H5Screate_simple(1, &size, nullptr), H5Sclose, "make a shape");
    return write(H5T_STD_I64LE, space, list->data());
  }
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose, "make a shape");
  if (const auto* number = std::get_if<int64_t>(&attribute)) return write(H5T_STD_I64LE, space, number);
  const auto& text = std::get<std::string>(attribute);
  const Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "make a type");
  checked(H5Tset_size(type, std::max<size_t>(text.size(), 1)), "set the length of a text");
  checked(H5Tset_strpad(type, H5T_STR_NULLPAD), "set the padding of a text");
  checked(H5Tset_cset(type, H5T_CSET_UTF8), "set the characters of a text");
  write(type, space, text.c_str());
}

Handle write_dataset(hid_t file, const Hdf5Plan& plan) {
  const std::vector<hsize_t> shape(plan.shape.begin(), plan.shape.end());
  const Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr), H5Sclose, "make a shape");
  const Handle form(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, "make properties");
  checked(H5Pset_layout(form, H5D_CONTIGUOUS), "set the layout");
  checked(H5Pset_alloc_time(form, H5D_ALLOC_TIME_EARLY), "set early allocation");
  checked(H5Pset_fill_time(form, H5D_FILL_TIME_NEVER), "set the filling");
  checked(H5Pset_obj_track_times(form, false), "leave times out");
  const hid_t type = file_type(plan.number);
  Handle dataset(H5Dcreate2(file, plan.name.c_str(), type, space, H5P_DEFAULT, form, H5P_DEFAULT), H5Dclose,
                 "make a dataset");
  if (!plan.values.empty()) {
    checked(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, plan.values.data()), "write a dataset");
  }
  return dataset;
}

/// The memory of HDF5's driver for files in memory. Where the driver closes the file, the memory stays here.
class Image {
 public:
  ~Image() { std::free(memory_); }
  Image() = default;
  Image(const Image&) = delete;

  std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(memory_), size_}; }

  void use_in(hid_t access) {
    checked(H5Pset_fapl_core(access, 64 * 1024, /*backing_store=*/false), "keep the file in memory");
    H5FD_file_image_callbacks_t callbacks{allocate, copy, reallocate, release, share, unshare, this};
    checked(H5Pset_file_image_callbacks(access, &callbacks), "keep the file in memory");
  }

 private:
  static void* allocate(size_t size, H5FD_file_image_op_t operation, void* image) {
    return reallocate(nullptr, size, operation, image);
  }
  static void* reallocate(void* memory, size_t size, H5FD_file_image_op_t, void* image) {
    auto& self = *static_cast<Image*>(image);
    void* larger = std::realloc(memory, size);
    if (!larger) return nullptr;
    self.memory_ = larger;
    self.size_ = size;
    return larger;
  }
  static void* copy(void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
    return std::memcpy(to, from, size);
  }
  static herr_t release(void*, H5FD_file_image_op_t, void*) { return 0; }
  static void* share(void* image) { return image; }
  static herr_t unshare(void*) { return 0; }

  void* memory_ = nullptr;
  size_t size_ = 0;
};

/// Metadata of so many datasets in one block in front, no times (equal content makes equal files), attributes in the root's own header.
Handle create_file(Image& image, int64_t alignment_bytes, int64_t least_bytes, size_t datasets) {
  const hsize_t metadata_bytes = datasets <= 8 ? 8192 : 8192 + 2048 * datasets;  // a header and a link take less than 1 KiB
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make properties");
  image.use_in(access);
  checked(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110), "set the version");
  checked(H5Pset_meta_block_size(access, metadata_bytes), "set the size of metadata blocks");
  checked(H5Pset_alignment(access, static_cast<hsize_t>(std::min(least_bytes, alignment_bytes)),
                           static_cast<hsize_t>(alignment_bytes)),
          "set the alignment");
  const Handle form(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "make properties");
  checked(H5Pset_obj_track_times(form, false), "leave times out");
  checked(H5Pset_attr_phase_change(form, 64, 0), "keep attributes in the header");
  return {H5Fcreate("in memory", H5F_ACC_TRUNC, form, access), H5Fclose, "create a file"};
}

/// Reads and judges; messages name the place in the file.
class Inspection {
 public:
  explicit Inspection(const fs::path& path) : path_(path) {}

  Hdf5Content run() {
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make properties");
    checked(H5Pset_file_locking(access, false, true), "set file locking");
    const Handle file(H5Fopen(path_.c_str(), H5F_ACC_RDONLY, access), H5Fclose, "open the file");
    const Handle form(H5Fget_create_plist(file), H5Pclose, "read how the file was made");
    hsize_t user_block = 0;
    checked(H5Pget_userblock(form, &user_block), "read the user block");
    if (user_block != 0) refuse("the file", "begins with " + std::to_string(user_block) + " bytes that are not HDF5's");
    Hdf5Content content;
    for (const std::string& name : names(file)) content.datasets[name] = dataset(file, name);
    H5O_info_t root;
    checked(H5Oget_info(file, &root), "read the root group");
    for (hsize_t i = 0; i < root.num_attrs; ++i) read_attribute(file, i, content);
    return content;
  }

 private:
  [[noreturn]] void refuse(const std::string& where, const std::string& what) const {
    throw DataError(path_.string() + ": " + where + " " + what);
  }

  std::vector<std::string> names(hid_t file) const {
    H5G_info_t group;
    checked(H5Gget_info(file, &group), "read the root group");
    if (group.nlinks > 64) refuse("the root group", "has " + std::to_string(group.nlinks) + " links");
    std::vector<std::string> found;
    for (hsize_t i = 0; i < group.nlinks; ++i) {
      std::array<char, 256> name{};
      checked(H5Lget_name_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT),
              "read the name of a link");
      found.emplace_back(name.data());
      H5L_info_t link;
      checked(H5Lget_info(file, name.data(), &link, H5P_DEFAULT), "read a link");
      if (link.type != H5L_TYPE_HARD) refuse(found.back(), "is a soft or external link");
      const Handle object(H5Oopen(file, name.data(), H5P_DEFAULT), H5Oclose, "open an object");
      if (H5Iget_type(object) != H5I_DATASET) refuse(found.back(), "is not a dataset");
    }
    return found;
  }

  Hdf5Dataset dataset(hid_t file, const std::string& name) const {
    const Handle handle(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose, "open a dataset");
    const Handle form(H5Dget_create_plist(handle), H5Pclose, "read how a dataset was made");
    if (checked(H5Pget_layout(form), "read the layout") != H5D_CONTIGUOUS) refuse(name, "is not contiguous");
    if (checked(H5Pget_external_count(form), "read external files") != 0) refuse(name, "lies in external files");
    if (checked(H5Pget_nfilters(form), "read filters") != 0) refuse(name, "has filters");

    Hdf5Dataset found;
    const Handle type(H5Dget_type(handle), H5Tclose, "read a type");
    bool known = false;
    for (Hdf5Number number : kNumbers) {
      if (checked(H5Tequal(type, file_type(number)), "compare types") <= 0) continue;
      found.number = number;
      known = true;
    }
    if (!known) refuse(name, "has a type that is not uint8, uint16, uint32, uint64 or float32, little endian");

    const Handle space(H5Dget_space(handle), H5Sclose, "read a shape");
    const int rank = checked(H5Sget_simple_extent_ndims(space), "read a shape");
    if (H5Sget_simple_extent_type(space) != H5S_SIMPLE || rank > 2) refuse(name, "is not a vector or matrix");
    std::array<hsize_t, 2> shape{}, most{};
    checked(H5Sget_simple_extent_dims(space, shape.data(), most.data()), "read a shape");
    if (shape != most) refuse(name, "can grow");
    found.bytes = bytes_of(found.number);
    for (int i = 0; i < rank; ++i) {
      found.shape.push_back(static_cast<int64_t>(shape[i]));
      if (shape[i] > INT64_MAX || __builtin_mul_overflow(found.bytes, found.shape.back(), &found.bytes)) {
        refuse(name, "is larger than any file");
      }
    }
    place(handle, name, found);
    return found;
  }

  void place(hid_t handle, const std::string& name, Hdf5Dataset& found) const {
    const haddr_t offset = H5Dget_offset(handle);
    if (offset == HADDR_UNDEF) refuse(name, "has no place in the file");
    const auto size = static_cast<int64_t>(fs::file_size(path_));
    if (offset > static_cast<haddr_t>(size) || found.bytes > size - static_cast<int64_t>(offset)) {
      refuse(name, "(" + std::to_string(found.bytes) + " bytes at byte " + std::to_string(offset) +
                       ") does not lie in the file of " + std::to_string(size) + " bytes");
    }
    if (H5Dget_storage_size(handle) != static_cast<hsize_t>(found.bytes)) refuse(name, "has room for another shape");
    found.offset = static_cast<int64_t>(offset);
  }

  void read_attribute(hid_t file, hsize_t index, Hdf5Content& content) const {
    const Handle handle(H5Aopen_by_idx(file, ".", H5_INDEX_NAME, H5_ITER_INC, index, H5P_DEFAULT, H5P_DEFAULT),
                        H5Aclose, "open an attribute");
    std::array<char, 256> buffer{};
    checked(H5Aget_name(handle, buffer.size(), buffer.data()), "read the name of an attribute");
    const std::string name = buffer.data();
    const std::string where = "attribute " + name;
    const Handle type(H5Aget_type(handle), H5Tclose, "read a type");
    const Handle space(H5Aget_space(handle), H5Sclose, "read a shape");
    const int rank = checked(H5Sget_simple_extent_ndims(space), "read a shape");
    const auto count = checked(H5Sget_simple_extent_npoints(space), "read a shape");
    const auto bytes = static_cast<int64_t>(H5Tget_size(type));
    if (rank > 1 || count < 1 || bytes < 1 || count > kMaxAttributeBytes / bytes) refuse(where, "has a strange shape");

    if (checked(H5Tequal(type, H5T_STD_I64LE), "compare types") > 0) {
      std::vector<int64_t> values(static_cast<size_t>(count));
      checked(H5Aread(handle, H5T_NATIVE_INT64, values.data()), "read an attribute");
      if (rank == 0) {
        content.attributes[name] = values[0];
      } else {
        content.attributes[name] = std::move(values);
      }
      return;
    }
    const bool text = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 && rank == 0 &&
                      H5Tget_strpad(type) == H5T_STR_NULLPAD;
    if (!text) refuse(where, "is neither int64 nor a text of fixed length padded with zeros");
    std::string value(static_cast<size_t>(bytes), '\0');
    checked(H5Aread(handle, type, value.data()), "read an attribute");
    content.attributes[name] = value.substr(0, value.find('\0'));
  }

  const fs::path& path_;
};

}  // namespace

std::string_view name_of(Hdf5Number number) {
  constexpr std::array<std::string_view, 5> kNames = {"uint8", "uint16", "uint32", "uint64", "float32"};
  return kNames[static_cast<size_t>(number)];
}

int64_t bytes_of(Hdf5Number number) {
  constexpr std::array<int64_t, 5> kBytes = {1, 2, 4, 8, 4};
  return kBytes[static_cast<size_t>(number)];
}

Hdf5Front make_hdf5_front(const std::map<std::string, Hdf5Attribute>& attributes, const std::vector<Hdf5Plan>& plans,
                          int64_t alignment_bytes, size_t behind) {
  Hdf5Front front;
  for (const Hdf5Plan& plan : plans) {
    int64_t bytes = bytes_of(plan.number);
    for (int64_t dimension : plan.shape) bytes *= dimension;
    front.datasets[plan.name] = {plan.number, plan.shape, 0, bytes};
  }
  const std::span<const Hdf5Plan> open = std::span(plans).last(behind);
  const Hdf5Dataset& first = front.datasets.at(open.front().name);
  const Hdf5Dataset& last = front.datasets.at(open.back().name);
  int64_t least_bytes = last.bytes;  // a dataset of so many bytes is aligned
  for (const Hdf5Plan& plan : open) least_bytes = std::min(least_bytes, front.datasets.at(plan.name).bytes);
  Image image;
  try {
    with_hdf5([&] {
      Handle file = create_file(image, alignment_bytes, least_bytes, plans.size());
      for (const auto& [name, attribute] : attributes) write_attribute(file, name, attribute);
      for (const Hdf5Plan& plan : plans) {
        Handle dataset = write_dataset(file, plan);
        const haddr_t offset = H5Dget_offset(dataset);
        if (offset == HADDR_UNDEF) throw Hdf5Error("HDF5 cannot say where a dataset lies");
        front.datasets.at(plan.name).offset = static_cast<int64_t>(offset);
        dataset.close("close a dataset");
      }
      file.close("close a file");
    });
  } catch (const Hdf5Error& error) {
    throw DataError(std::string("a file of states cannot be made: ") + error.what());
  }
  int64_t end = first.offset;
  for (const Hdf5Plan& plan : open) {
    const Hdf5Dataset& dataset = front.datasets.at(plan.name);
    const bool follows = dataset.offset >= end && dataset.offset - end < alignment_bytes;
    TORCH_CHECK(follows, "HDF5 has put ", plan.name, " at byte ", dataset.offset, ", what is before it ends at ", end);
    end = dataset.offset + dataset.bytes;
  }
  constexpr size_t kEndOfFile = 28;  // where the superblock, version 2 or 3, says how long the file is
  int64_t file_bytes = 0;
  std::memcpy(&file_bytes, image.bytes().data() + kEndOfFile, sizeof file_bytes);
  TORCH_CHECK(file_bytes == end, "HDF5 has put something behind ", open.back().name, ": it ends at byte ", end, ", the file at ", file_bytes);
  for (const Hdf5Plan& plan : std::span(plans).first(plans.size() - behind)) {
    TORCH_CHECK(front.datasets.at(plan.name).offset < first.offset, "HDF5 has put ", plan.name, " behind the front");
  }
  front.file_bytes = last.offset + last.bytes;
  front.bytes.assign(image.bytes().begin(),
                     image.bytes().begin() + std::min<int64_t>(image.bytes().size(), first.offset));
  front.bytes.resize(static_cast<size_t>(first.offset));  // what HDF5 left out behind its last byte
  return front;
}

Hdf5Content inspect_hdf5(const fs::path& path) {
  try {
    return with_hdf5([&] { return Inspection(path).run(); });
  } catch (const Hdf5Error& error) {
    throw DataError(path.string() + ": " + error.what());
  } catch (const fs::filesystem_error& error) {
    throw checkpoints_tools::IoError(path.string() + ": cannot read its size: " + error.code().message());
  }
}

}  // namespace layalign::data
