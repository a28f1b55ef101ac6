#include <iterator>

#include "checkpoints_tools/error.h"
#include "checkpoints_tools/verification.h"
#include "data/activation_cache/form_file.h"
#include "data/activation_cache/shard_manifest.h"
#include "data/error.h"
#include "tests/fuzz/fuzz_input.h"

using namespace layalign;

/// The tensors themselves need LibTorch and are no part of this target: no input has the hash of a file with tensors.
std::vector<std::string> checkpoints_tools::weights_problems(const std::filesystem::path&) { return {}; }

namespace {

using Read = void (*)(const fuzz::ScratchFolder& folder, std::string_view input);

constexpr Read kReaders[] = {
    [](const fuzz::ScratchFolder& folder, std::string_view input) {
      const auto manifest = folder.write("checkpoint/manifest.json", input);
      folder.write("checkpoint/moments-00000-of-00001.safetensors", "12345678");
      checkpoints_tools::manifest_problems(manifest.parent_path());
    },
    [](const fuzz::ScratchFolder& folder, std::string_view input) {
      folder.write(data::kFormFile, input);
      data::write_form_file(folder.path(), data::read_form_file(folder.path()));
    },
    [](const fuzz::ScratchFolder& folder, std::string_view input) {
      const auto path = folder.write("shard-0123456789abcdef.json", input);
      const data::ShardManifest manifest = data::read_manifest(path);
      data::write_manifest(path, manifest);
      fuzz::require(data::read_manifest(path) == manifest, "a manifest that is written is read back");
    },
};

}  // namespace

/// The first byte chooses the kind of manifest.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const fuzz::ScratchFolder folder;
  std::string_view input = fuzz::text_of(bytes, size);
  const size_t choice = fuzz::take_choice(input, std::size(kReaders));
  fuzz::accepts<data::DataError, checkpoints_tools::CheckpointError, checkpoints_tools::IoError>(
      [&] { kReaders[choice](folder, input); });
  return 0;
}
