#include "model/generation.h"

#include <algorithm>

#include "model/attention.h"
#include "model/key_value_cache.h"
#include "model/shared_encoding.h"

namespace layalign::model {
namespace {

KeyValueCache make_cache(const Llm& llm, int64_t slots, at::Device device) {
  const auto& layer = llm.layer(0);
  return {llm.layers(), slots, layer.kv_heads(), layer.head_dim(), at::TensorOptions(device).dtype(llm.type())};
}

}  // namespace

/// One call of `run`: the sequences in hand, which lie in the slots 0..N-1 of both caches.
class Generator::Session {
 public:
  Session(const Generator& generator, std::span<const data::Sample> samples, std::span<const int64_t> indices,
          const GenerationOptions& options, const Finished& finished)
      : generator_(generator),
        layalign_(generator.layalign_),
        llm_(layalign_.llm()),
        samples_(samples),
        indices_(indices),
        options_(options),
        finished_(finished),
        tokens_(make_cache(llm_, options.batch, generator.device_)),
        sources_(make_cache(llm_, options.batch, generator.device_)) {}

  void run() {
    at::NoGradGuard no_grad;
    while (next_ < indices_.size() || !sequences_.empty()) {
      const auto free = options_.batch - static_cast<int64_t>(sequences_.size());
      // Reading a prompt costs a pass over all weights: a few wait for one another.
      const bool worth_it = sequences_.empty() || free >= std::max<int64_t>(1, options_.batch / 4);
      if (next_ < indices_.size() && worth_it) read_prompts(free);
      else generate_one();
    }
  }

 private:
  struct Sequence {
    int64_t sample = 0;
    std::vector<int64_t> ids;
  };

  void read_prompts(int64_t most) {
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

    const auto hidden = prompt_hidden(batch);
    add_tokens(sequences_.size() - count, choose(hidden, sequences_.size() - count));
  }

  at::Tensor prompt_hidden(const data::Batch& batch) {
    EncoderStates states;
    if (needs_encoder()) states = encode_shared(generator_.encoder_, batch, generator_.encoder_layers_, generator_.tp_);
    auto x_TD = layalign_.input_rows(batch, states);
    const auto rope = llm_.rope(batch.positions_T);
    for (int64_t i = 0; i < llm_.layers(); ++i) {
      const auto& layer = llm_.layer(i);
      const auto fusion = layalign_.fusion(i, states.layers_ESD);
      LayerAttention attention;
      attention.self = [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
        tokens_.write(i, k, v);
        return packed_attention(q, k, v, batch.llm_offsets, batch.llm_offsets, /*causal=*/true, layer.scale());
      };
      if (fusion) {
        sources_.write(i, fusion->key_value.key_SGd, fusion->key_value.value_SGd);
        attention.fusion = [&](const at::Tensor& q) {
          return packed_attention(q, fusion->key_value.key_SGd, fusion->key_value.value_SGd, batch.llm_offsets,
                                  batch.source_offsets, /*causal=*/false, layer.scale());
        };
      }
      x_TD = layer.forward(x_TD, rope, attention, fusion ? fusion->gate : FusionGate());
    }
    return x_TD.index_select(0, batch.label_rows_N);
  }

  void generate_one() {
    std::vector<KeyValueCache::Stretch> stretches;
    std::vector<int64_t> ids, positions;
    for (size_t slot = 0; slot < sequences_.size(); ++slot) {
      ids.push_back(sequences_[slot].ids.back());
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
      if (adapted) attention.fusion = [&](const at::Tensor& q) { return sources_.attend(i, q, layer.scale()); };
      x_ND = layer.forward(x_ND, rope, attention, adapted ? layalign_.gate(i) : FusionGate());
    }
    add_tokens(0, choose(x_ND, 0));
  }

  bool needs_encoder() const {
    if (layalign_.input_form() == data::InputForm::kMapped) return true;
    for (int64_t i = 0; i < llm_.layers(); ++i) {
      if (layalign_.is_adapted(i)) return true;
    }
    return false;
  }

  /// The next token of the sequences from `first` on, one a row of hidden_ND.
  std::vector<int64_t> choose(const at::Tensor& hidden_ND, size_t first) const {
    if (options_.sampling.temperature == 0) {
      const auto ids = llm_.likeliest(hidden_ND).to(at::kCPU);
      return {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()};
    }
    std::vector<double> draws;
    for (size_t i = first; i < sequences_.size(); ++i) {
      const auto step = static_cast<int64_t>(sequences_[i].ids.size());
      draws.push_back(uniform_draw(options_.sampling.seed, sequences_[i].sample, step));
    }
    return draw_tokens(llm_.logits(hidden_ND), options_.sampling, draws);
  }

  /// Appends a token to each sequence from `first` on, and lets go of those that are finished.
  void add_tokens(size_t first, const std::vector<int64_t>& ids) {
    for (size_t i = 0; i < ids.size(); ++i) sequences_[first + i].ids.push_back(ids[i]);
    for (size_t slot = sequences_.size(); slot-- > first;) {
      const auto& sequence = sequences_[slot];
      const bool done = sequence.ids.back() == llm_.config().eos_id ||
                        static_cast<int64_t>(sequence.ids.size()) >= options_.max_new_tokens;
      if (!done) continue;
      finished_(sequence.sample, sequence.ids);
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
  KeyValueCache tokens_, sources_;
  std::vector<Sequence> sequences_;  // by slot
  size_t next_ = 0;                  // of indices_
};

Generator::Generator(const LayAlign& layalign, const Encoder& encoder, std::vector<int64_t> encoder_layers,
                     const dist::Communicator& tp, at::Device device)
    : layalign_(layalign), encoder_(encoder), encoder_layers_(std::move(encoder_layers)), tp_(tp), device_(device) {}

void Generator::run(std::span<const data::Sample> samples, std::span<const int64_t> indices,
                    const GenerationOptions& options, const Finished& finished) const {
  TORCH_CHECK(options.batch >= 1 && options.max_new_tokens >= 1, "batch and max_new_tokens must be at least 1");
  Session(*this, samples, indices, options, finished).run();
}

}  // namespace layalign::model
