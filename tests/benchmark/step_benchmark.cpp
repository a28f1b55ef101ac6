// Optimiser steps over given batches, with the options and the output of peer_bench.py, its peer. Under mpirun all ranks are one
// tensor-parallel group.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "dist/process_grid.h"
#include "model/clock.h"
#include "model/elementwise.h"
#include "model/llm.h"
#include "trainer/train_step.h"
#include "trainer/trainables_file.h"

namespace layalign {
namespace {

struct Options {
  std::string encoder, llm, batches, init, device = "cpu", dtype = "float32", recompute = "none";
  int64_t threads = 2;
  bool one_dnn = true, kernels = true, counters = false;
  int64_t micro_batch = 0;  ///< 0: a batch at once, as the peer does
};

Options parse(int argc, char** argv) {
  Options options;
  CLI::App app("Steps of LayAlign's training over given batches; one JSON line.", "step_benchmark");
  app.add_option("--encoder", options.encoder, "model folder")->required();
  app.add_option("--llm", options.llm, "model folder")->required();
  app.add_option("--batches", options.batches, "{\"batches\": [[{\"source\": [ids], \"prompt\": [ids], \"target\": [ids]}, ...], ...]}")->required();
  app.add_option("--init", options.init, "safetensors with the trainables to begin with (peer_bench.py --save-init)");
  app.add_option("--threads", options.threads, "of each rank");
  app.add_option("--device", options.device)->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--dtype", options.dtype, "of the frozen models")->check(CLI::IsMember({"float32", "bfloat16"}));
  app.add_flag("!--without-onednn", options.one_dnn, "products of float32 by MKL on every CPU");
  app.add_flag("!--without-kernels", options.kernels, "norms, RoPE, SwiGLU and the gate's sum by LibTorch's operators");
  app.add_flag("--counters", options.counters, "also the last step's FLOPs, bytes moved beside products and operators; slows steps a little");
  app.add_option("--micro-batch", options.micro_batch, "samples at once; 0: the whole batch");
  app.add_option("--recompute", options.recompute)->check(CLI::IsMember({"none", "full"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

std::vector<std::vector<data::Sample>> read_batches(const std::string& path) {
  std::vector<std::vector<data::Sample>> batches;
  const auto json = nlohmann::json::parse(std::ifstream(path));
  for (const auto& batch : json.at("batches")) {
    batches.emplace_back();
    for (const auto& sample : batch) {
      const auto origin = path + ", batch " + std::to_string(batches.size());
      batches.back().push_back({sample.at("source"), sample.at("prompt"), sample.at("target"), "none", origin});
    }
  }
  return batches;
}

/// The models of the peer: every encoder state but the last, every LLM layer, the paper's adapter.
struct System {
  System(const Options& options, const dist::ProcessGrid& grid) {
    const auto type = options.dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
    encoder = model::load_encoder(options.encoder, grid.device, type);
    const auto config = model::LlmConfig::read(options.llm);
    llm = std::make_unique<model::Llm>(options.llm, config, grid.tp, grid.device, type);
    std::vector<int64_t> language_layers;
    for (int64_t i = 0; i < encoder->info().depth; ++i) encoder_layers.push_back(i);
    for (int64_t i = 0; i < llm->layers(); ++i) language_layers.push_back(i);
    model::TrainableSizes sizes;
    sizes.encoder_layers = encoder->info().depth;
    sizes.language_layers = llm->layers();
    sizes.encoder_width = encoder->info().width;
    sizes.llm_width = config.hidden_size;
    trainables = std::make_unique<model::Trainables>(sizes, grid.device, trainer::TrainStep::riders(grid));
    trainables->initialise(0);
    at::NoGradGuard no_grad;
    if (!options.init.empty()) trainables->masters().copy_(trainer::load_trainables(options.init, trainables->layout()));
    const auto recompute = options.recompute == "full" ? model::Recompute::kFull : model::Recompute::kNone;
    layalign = std::make_unique<model::LayAlign>(*llm, *trainables, language_layers, data::InputForm::kMapped, recompute);
  }

  std::vector<int64_t> encoder_layers;
  std::unique_ptr<model::Encoder> encoder;
  std::unique_ptr<model::Llm> llm;
  std::unique_ptr<model::Trainables> trainables;
  std::unique_ptr<model::LayAlign> layalign;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double rounded(double value, double places) { return std::round(value * places) / places; }

int run(const Options& options) {
  const auto batches = read_batches(options.batches);
  if (batches.size() < 2) throw std::runtime_error(options.batches + ": needs two batches or more: the first one warms up");
  const auto process = std::make_shared<dist::Process>();
  at::set_num_threads(static_cast<int>(options.threads));
  at::globalContext().setUserEnabledMkldnn(options.one_dnn);
  model::use_elementwise_kernels(options.kernels);
  const auto grid = dist::make_grid(process, process->world_size(), options.device, "auto");
  const System system(options, grid);
  const configs::OptimizerConfig optimizer;  // its defaults are those of the peer
  trainer::TrainStep step(grid, optimizer, {*system.encoder, *system.llm, *system.layalign, *system.trainables, system.encoder_layers});

  step.count_executed(options.counters);

  std::vector<double> seconds, rates, losses;
  model::WorkCount work;
  int64_t peak_bytes = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto micro_batch = options.micro_batch > 0 ? options.micro_batch : static_cast<int64_t>(batches[i].size());
    const auto start = model::Clock::now();
    const auto result = step.run(batches[i], micro_batch, 1e-3, static_cast<int64_t>(i) + 1);
    const double elapsed = model::seconds_since(start);
    losses.push_back(rounded(result.loss, 1e5));
    peak_bytes = result.peak_memory_bytes;
    if (result.counters.executed) work = *result.counters.executed;
    if (i == 0) continue;  // warms up
    int64_t tokens = 0;
    for (const auto& sample : batches[i]) tokens += 2 + static_cast<int64_t>(sample.source.size() + sample.prompt.size() + sample.target.size());
    seconds.push_back(elapsed);
    rates.push_back(static_cast<double>(tokens) / elapsed);
  }
  if (grid.world_rank == 0) {
    nlohmann::ordered_json line{{"step_s_median", rounded(median(seconds), 1e4)},
                                {"step_s_min", rounded(*std::min_element(seconds.begin(), seconds.end()), 1e4)},
                                {"tokens_per_s", rounded(median(rates), 10)},
                                {"peak_mib", std::llround(static_cast<double>(peak_bytes) / (1 << 20))},
                                {"losses", losses},
                                {"threads", options.threads},
                                {"device", options.device},
                                {"dtype", options.dtype}};
    if (options.counters) {
      line.update({{"gflop", rounded(static_cast<double>(work.flops.total()) / 1e9, 10)},
                   {"moved_mb", rounded(static_cast<double>(work.moved_bytes) / 1e6, 10)},
                   {"operators", work.operators}});
    }
    std::cout << line.dump() << "\n";
  }
  process->finalize();
  return 0;
}

}  // namespace
}  // namespace layalign

int main(int argc, char** argv) {
  const auto options = layalign::parse(argc, argv);
  try {
    return layalign::run(options);
  } catch (const std::exception& error) {
    std::cerr << "step_benchmark: " << error.what() << "\n";
    return 1;
  }
}
