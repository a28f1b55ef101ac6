#include "checkpoints_tools/hash.h"

#ifdef LAYALIGN_XXHASH_DISPATCH
#include <xxh_x86dispatch.h>  // puts the functions that choose by the processor in place of those below: three times as fast
#else
#include <xxhash.h>
#endif

#include <new>

namespace layalign::checkpoints_tools {
namespace {

XXH3_state_s* new_state() {
  XXH3_state_s* state = XXH3_createState();
  if (!state) throw std::bad_alloc();
  return state;
}

}  // namespace

void FreeXxh3State::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

Xxh3::Xxh3() : state_(new_state()) { XXH3_128bits_reset(state_.get()); }

void Xxh3::update(std::span<const std::byte> bytes) { XXH3_128bits_update(state_.get(), bytes.data(), bytes.size()); }

void Xxh3::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

std::string Xxh3::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
  return hex_of(Hash128{hash.high64, hash.low64});
}

Xxh3Short::Xxh3Short() : state_(new_state()) { XXH3_64bits_reset(state_.get()); }

void Xxh3Short::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(state_.get(), bytes.data(), bytes.size());
}

uint64_t Xxh3Short::value() const { return XXH3_64bits_digest(state_.get()); }

Hash128 xxh3_128(std::span<const std::byte> bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

uint64_t xxh3_64(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string hex_of(uint64_t hash) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += kDigits[hash >> shift & 15];
  return text;
}

std::string hex_of(const Hash128& hash) { return hex_of(hash.high) + hex_of(hash.low); }

std::string xxh3_hex(std::span<const std::byte> bytes) { return hex_of(xxh3_128(bytes)); }

}  // namespace layalign::checkpoints_tools
