// A program for watchdog_test: hanging_rank HOW RANK LIMIT. That rank hangs in the way named, or keeps the others waiting for good
// reason; three collectives of each group go well before.
#include <ATen/ATen.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "dist/process_grid.h"
#include "dist/watchdog.h"

namespace {

using layalign::dist::ProcessGrid;
using layalign::dist::Section;

void wait_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

void say(const std::string& text) { std::fprintf(stderr, "%s\n", text.c_str()); }

/// What the rank does that holds up the others.
void misbehave(const std::string& how, const ProcessGrid& grid, double limit_s) {
  auto ones = at::ones({4});
  if (how == "stop" || how == "stop_at_once") {
    if (how == "stop") wait_s(1);  // its watchdog has told where it is
    ::raise(SIGSTOP);
  }
  if (how == "loop") wait_s(3600);
  if (how == "skip") grid.world.all_reduce(ones);       // the others are still in tp
  if (how == "other") grid.tp.broadcast(ones, 0);       // and not all_reduce
  for (int i = 0; how == "work" && i < 8; ++i) {        // much longer than the limit in all, never at once
    grid.enter(Section::kStep, 2 + i);
    wait_s(limit_s / 3);
  }
}

int run(const std::string& how, int rank, double limit_s) {
  const auto process = std::make_shared<layalign::dist::Process>();
  layalign::dist::Watchdog watchdog(process, {.set_up_s = 60, .step_s = limit_s, .save_s = 60, .evaluation_s = 60},
                                    {say, say, [] { return std::string(); }});
  const int tp = process->world_size() > 2 ? 2 : process->world_size();
  const auto grid = layalign::dist::make_grid(process, tp, "cpu", "auto");
  watchdog.guard(grid.tp);
  watchdog.guard(grid.world);
  auto ones = at::ones({4});
  for (int i = 0; i < 3; ++i) {
    grid.tp.all_reduce(ones);
    grid.world.all_reduce(ones);
  }
  grid.enter(Section::kStep, 1);
  if (grid.world_rank == rank) misbehave(how, grid, limit_s);
  if (!(how == "skip" && grid.world_rank == rank)) grid.tp.all_reduce(ones);
  grid.world.all_reduce(ones);
  watchdog.stop();
  process->finalize();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return argc == 4 ? run(argv[1], std::atoi(argv[2]), std::atof(argv[3])) : 2; }
