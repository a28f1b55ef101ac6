#include "model/generation.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "model/attention.h"
#include "model/clock.h"
#include "model/key_value_cache.h"
#include "model/shared_encoding.h"

namespace layalign::model {
namespace {

KeyValueCache make_cache(const Llm& llm, int64_t layers, int64_t slots, at::Device device) {
  const auto& layer = llm.layer(0);
  return {layers, slots, layer.kv_heads(), layer.head_dim(), at::TensorOptions(device).dtype(llm.type())};
}

/// The row of each LLM layer in the cache of the fusion, which holds adapted layers alone; -1 for a plain layer.
std::vector<int64_t> fusion_rows(const LayAlign& layalign) {
  std::vector<int64_t> rows;
  int64_t next = 0;
  for (int64_t i = 0; i < layalign.llm().layers(); ++i) rows.push_back(layalign.is_adapted(i) ? next++ : -1);
  return rows;
}

int64_t count_adapted(const std::vector<int64_t>& fusion_rows) {
  return std::ranges::count_if(fusion_rows, [](int64_t row) { return row >= 0; });
}

}  // namespace

/// One call of `run`: the sequences in hand, which lie in the slots 0..N-1 of both caches.
class Generator::Session {
 public:
  Session(const Generator& generator, std::span<const data::Sample> samples, std::span<const int64_t> indices,
          const GenerationOptions& options, const Finished& finished, std::span<const uint64_t> draw_keys)
      : generator_(generator),
        layalign_(generator.layalign_),
        llm_(layalign_.llm()),
        samples_(samples),
        indices_(indices),
        options_(options),
        finished_(finished),
        draw_keys_(draw_keys),
        fusion_rows_(fusion_rows(layalign_)),
        tokens_(make_cache(llm_, llm_.layers(), options.batch, generator.device_)),
        sources_(make_cache(llm_, count_adapted(fusion_rows_), options.batch, generator.device_)) {}

  void run() {
    c10::InferenceMode inference;
    while (next_ < indices_.size() || !sequences_.empty()) {
      const auto free = options_.batch - static_cast<int64_t>(sequences_.size());
      // Reading a prompt costs a pass over all weights: a few wait for one another.
      const bool worth_it = sequences_.empty() || free >= std::max<int64_t>(1, options_.batch / 4);
      if (next_ < indices_.size() && worth_it)
        read_prompts(free);
      else
        generate_one();
    }
  }

 private:
  struct Sequence {
    int64_t sample = 0;
    Continuation made;
  };

  void read_prompts(int64_t most) {
    const auto start = Clock::now();
    const auto indices = indices_.subspan(next_, std::min<size_t>(most, indices_.size() - next_));
    const size_t count = indices.size();
    std::vector<data::Sample> admitted;
    for (int64_t index : indices) {
      admitted.push_back(samples_[index]);
      admitted.back().target = {llm_.config().eos_id};  // the label row of a single label is the last of the prompt
    }
    const auto batch = data::pack(admitted, llm_.config().bos_id, layalign_.input_form()).to(generator_.device_);

    std::vector<KeyValueCache::Stretch> tokens, sources;
    for (size_t i = 0; i < count; ++i) {
      const auto slot = static_cast<int64_t>(sequences_.size());
      tokens.push_back({slot, batch.llm_offsets[i + 1] - batch.llm_offsets[i]});
      sources.push_back({slot, batch.source_offsets[i + 1] - batch.source_offsets[i]});
      sequences_.push_back({indices[i], {}});
    }
    next_ += count;
    tokens_.append(tokens);
    sources_.append(sources);

    const size_t first = sequences_.size() - count;
    const auto ids = choose(prompt_hidden(batch), first);
    const double row_s =
        seconds_since(start) / static_cast<double>(batch.llm_offsets.back() + batch.source_offsets.back());
    for (size_t i = 0; i < count; ++i) {
      sequences_[first + i].made.seconds = row_s * static_cast<double>(tokens[i].tokens + sources[i].tokens);
    }
    add_tokens(first, ids);
  }

  at::Tensor prompt_hidden(const data::Batch& batch) {
    EncoderStates states;
    if (needs_encoder()) states = encode_shared(generator_.encoder_, batch, generator_.encoder_layers_, generator_.tp_);
    auto x_TD = layalign_.input_rows(batch, states);
    const auto rope = llm_.rope(batch.positions_T);
    const PackedSequences inputs(batch.llm_offsets, x_TD.device()), sources(batch.source_offsets, x_TD.device());
    for (int64_t i = 0; i < llm_.layers(); ++i) {
      const auto& layer = llm_.layer(i);
      const auto fusion = layalign_.fusion(i, states.layers_ESD);
      LayerAttention attention;
      attention.self = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
        tokens_.write(i, k, v);
        return packed_attention(q, k, v, inputs, inputs, /*causal=*/true, layer.scale());
      };
      if (fusion) {
        sources_.write(fusion_rows_[i], fusion->key_value.key_SGd, fusion->key_value.value_SGd);
        attention.fusion = [&](const at::Tensor& q) {
          return packed_attention(q, fusion->key_value.key_SGd, fusion->key_value.value_SGd, inputs, sources,
                                  /*causal=*/false, layer.scale());
        };
      }
      x_TD = layer.forward(x_TD, rope, attention, fusion ? fusion->gate : FusionGate());
    }
    return x_TD.index_select(0, batch.label_rows_N);
  }

  void generate_one() {
    const auto start = Clock::now();
    std::vector<KeyValueCache::Stretch> stretches;
    std::vector<int64_t> ids, positions;
    for (size_t slot = 0; slot < sequences_.size(); ++slot) {
      ids.push_back(sequences_[slot].made.ids.back());
      positions.push_back(tokens_.length(static_cast<int64_t>(slot)));
      stretches.push_back({static_cast<int64_t>(slot), 1});
    }
    tokens_.append(stretches);
    auto x_ND = llm_.embed(at::tensor(ids, at::kLong).to(generator_.device_));
    const auto rope = llm_.rope(at::tensor(positions, at::kLong).to(generator_.device_));
    for (int64_t i = 0; i < llm_.layers(); ++i) {
      const auto& layer = llm_.layer(i);
      LayerAttention attention;
      attention.self = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
        tokens_.write(i, k, v);
        return tokens_.attend(i, q, layer.scale());
      };
      const bool adapted = layalign_.is_adapted(i);
      if (adapted)
        attention.fusion = [&](const at::Tensor& q) { return sources_.attend(fusion_rows_[i], q, layer.scale()); };
      x_ND = layer.forward(x_ND, rope, attention, adapted ? layalign_.gate(i) : FusionGate());
    }
    const auto chosen = choose(x_ND, 0);
    const double share_s = seconds_since(start) / static_cast<double>(sequences_.size());
    for (auto& sequence : sequences_) sequence.made.seconds += share_s;
    add_tokens(0, chosen);
  }

  bool needs_encoder() const {
    return layalign_.input_form() == data::InputForm::kMapped || count_adapted(fusion_rows_) > 0;
  }

  /// The next token of the sequences from `first` on, one a row of hidden_ND.
  std::vector<int64_t> choose(const at::Tensor& hidden_ND, size_t first) const {
    if (options_.sampling.temperature == 0) {
      const auto ids = llm_.likeliest(hidden_ND).to(at::kCPU);
      return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()};
    }
    std::vector<double> draws;
    for (size_t i = first; i < sequences_.size(); ++i) {
      const auto& [sample, made] = sequences_[i];
      const uint64_t key = draw_keys_.empty() ? static_cast<uint64_t>(sample) : draw_keys_[sample];
      draws.push_back(uniform_draw(options_.sampling.seed, key, static_cast<int64_t>(made.ids.size())));
    }
    return draw_tokens(llm_.logits(hidden_ND), options_.sampling, draws);
  }

  /// Appends a token to each sequence from `first` on, and lets go of those that are finished.
  void add_tokens(size_t first, const std::vector<int64_t>& ids) {
    for (size_t i = 0; i < ids.size(); ++i) sequences_[first + i].made.ids.push_back(ids[i]);
    for (size_t slot = sequences_.size(); slot-- > first;) {
      const auto& sequence = sequences_[slot];
      const auto& made = sequence.made.ids;
      const bool done =
          llm_.config().ends_text(made.back()) || static_cast<int64_t>(made.size()) >= options_.max_new_tokens;
      if (!done) continue;
      finished_(sequence.sample, sequence.made);
      const auto last = static_cast<int64_t>(sequences_.size()) - 1;
      tokens_.remove(static_cast<int64_t>(slot), last);
      sources_.remove(static_cast<int64_t>(slot), last);
      std::swap(sequences_[slot], sequences_.back());
      sequences_.pop_back();
    }
  }

  const Generator& generator_;
  const LayAlign& layalign_;
  const Llm& llm_;
  std::span<const data::Sample> samples_;
  std::span<const int64_t> indices_;
  const GenerationOptions& options_;
  const Finished& finished_;
  std::span<const uint64_t> draw_keys_;
  std::vector<int64_t> fusion_rows_;
  KeyValueCache tokens_, sources_;
  std::vector<Sequence> sequences_;  // by slot
  size_t next_ = 0;                  // of indices_
};

Generator::Generator(const LayAlign& layalign, const Encoder& encoder, std::vector<int64_t> encoder_layers,
                     const dist::Communicator& tp, at::Device device)
    : layalign_(layalign), encoder_(encoder), encoder_layers_(std::move(encoder_layers)), tp_(tp), device_(device) {}

void Generator::run(std::span<const data::Sample> samples, std::span<const int64_t> indices,
                    const GenerationOptions& options, const Finished& finished,
                    std::span<const uint64_t> draw_keys) const {
  TORCH_CHECK(options.batch >= 1 && options.max_new_tokens >= 1, "batch and max_new_tokens must be at least 1");
  Session(*this, samples, indices, options, finished, draw_keys).run();
}

}  // namespace layalign::model
