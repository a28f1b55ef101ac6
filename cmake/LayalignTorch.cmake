# LibTorch from the PyPI wheel, as the imported target layalign::torch, made by hand: the wheel's own CMake package does not
# configure where no CUDA toolkit (nvcc) is installed. The wheels also hold the headers and libraries of CUDA and NCCL, so
# the NCCL backend needs no toolkit either.
#   LAYALIGN_SITE_PACKAGES   the folder that holds torch/ (default: the .venv of this repository, then python3's own torch)
#   LAYALIGN_CUDA            ON where the wheel is a CUDA build: layalign::cuda is the target of CUDA host code and NCCL

set(LAYALIGN_SITE_PACKAGES "" CACHE PATH "folder that holds the torch package")
if(NOT EXISTS "${LAYALIGN_SITE_PACKAGES}/torch")  # not given, or gone since the last configuration
  file(GLOB torch_folders ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  if(NOT torch_folders)
    find_package(Python3 COMPONENTS Interpreter QUIET)
    execute_process(
      COMMAND ${Python3_EXECUTABLE} -c "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
      OUTPUT_VARIABLE torch_folders OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(torch_folders)
    list(GET torch_folders -1 torch_folder)
    cmake_path(GET torch_folder PARENT_PATH site)
    set(LAYALIGN_SITE_PACKAGES ${site} CACHE PATH "folder that holds the torch package" FORCE)
  endif()
endif()
set(TORCH_ROOT ${LAYALIGN_SITE_PACKAGES}/torch)
if(NOT EXISTS ${TORCH_ROOT}/lib/libtorch_cpu.so)
  message(FATAL_ERROR "LibTorch was not found. Run ./launch/setup.sh, or\n"
    "  python3 -m venv .venv && .venv/bin/pip install -r requirements.txt\n"
    "or pass -DLAYALIGN_SITE_PACKAGES=DIR, the folder that holds torch/.")
endif()

# -idirafter: the wheel ships fmt 12 headers, the distribution's spdlog wants its own fmt.
# libtorch.so is not linked: it only draws in libtorch_cuda.so and with it 355 MB a rank.
add_library(layalign_torch INTERFACE)
add_library(layalign::torch ALIAS layalign_torch)
target_compile_options(layalign_torch INTERFACE
  "SHELL:-idirafter \"${TORCH_ROOT}/include\"" "SHELL:-idirafter \"${TORCH_ROOT}/include/torch/csrc/api/include\"")
target_link_options(layalign_torch INTERFACE "LINKER:-rpath,${TORCH_ROOT}/lib")
target_link_libraries(layalign_torch INTERFACE ${TORCH_ROOT}/lib/libtorch_cpu.so ${TORCH_ROOT}/lib/libc10.so Threads::Threads)
# at::parallel_for, a template, has threads only where OpenMP is on. At run time the wheel's own libgomp is found first.
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_compile_options(layalign_torch INTERFACE ${OpenMP_CXX_FLAGS})
target_link_libraries(layalign_torch INTERFACE ${OpenMP_CXX_LIBRARIES})
# The wheel is built with NDEBUG, without which at::RecordFunction and others have more members: wrong reads in any other build type.
target_compile_definitions(layalign_torch INTERFACE NDEBUG)

# CUDA's headers include crt/ and nv/, which no wheel holds that torch asks for: two small ones more, or a CUDA toolkit.
set(LAYALIGN_CUDA OFF)
file(GLOB cuda_include ${LAYALIGN_SITE_PACKAGES}/nvidia/cu[0-9]*/include)
file(GLOB cudart_library ${LAYALIGN_SITE_PACKAGES}/nvidia/cu[0-9]*/lib/libcudart.so.*)
set(nccl_root ${LAYALIGN_SITE_PACKAGES}/nvidia/nccl)
if(EXISTS ${TORCH_ROOT}/lib/libtorch_cuda.so AND cuda_include AND cudart_library AND EXISTS ${nccl_root}/include/nccl.h)
  find_path(LAYALIGN_CUDA_CRT_INCLUDE crt/host_config.h HINTS ${cuda_include} ENV CUDA_HOME PATH_SUFFIXES include)
  find_path(LAYALIGN_CUDA_NV_INCLUDE nv/target HINTS ${cuda_include} ENV CUDA_HOME PATH_SUFFIXES include include/cccl)
  if(LAYALIGN_CUDA_CRT_INCLUDE AND LAYALIGN_CUDA_NV_INCLUDE)
    set(LAYALIGN_CUDA ON)
  else()
    message(WARNING "The CUDA and NCCL backend is not built: crt/host_config.h or nv/target is missing.\n"
      "Run ./launch/setup.sh, or install the wheels nvidia-cuda-crt and nvidia-cuda-cccl of requirements.txt.")
  endif()
endif()
if(LAYALIGN_CUDA)
  cmake_path(GET cudart_library PARENT_PATH cudart_folder)
  add_library(layalign_cuda INTERFACE)
  add_library(layalign::cuda ALIAS layalign_cuda)
  # Before the system's headers, unlike LibTorch: what is linked is the wheels' CUDA and NCCL, whatever the machine has.
  target_include_directories(layalign_cuda SYSTEM INTERFACE
    ${cuda_include} ${nccl_root}/include ${LAYALIGN_CUDA_CRT_INCLUDE} ${LAYALIGN_CUDA_NV_INCLUDE})
  # libtorch_cuda.so registers its kernels when it is loaded, so it stays even where no symbol asks for it.
  target_link_options(layalign_cuda INTERFACE "LINKER:-rpath,${cudart_folder}:${nccl_root}/lib" "LINKER:--no-as-needed")
  target_link_libraries(layalign_cuda INTERFACE layalign_torch
    ${TORCH_ROOT}/lib/libtorch_cuda.so ${TORCH_ROOT}/lib/libc10_cuda.so ${cudart_library} ${nccl_root}/lib/libnccl.so.2)
endif()
message(STATUS "LibTorch: ${TORCH_ROOT} (CUDA and NCCL: ${LAYALIGN_CUDA})")

# One precompiled header for every target that uses LibTorch, of what most of its files include. Not torch/torch.h: what that
# leaves to instantiate costs each file 4 s more and twice the memory.
add_library(layalign_torch_pch STATIC ${PROJECT_SOURCE_DIR}/cmake/torch_pch.cpp)
target_link_libraries(layalign_torch_pch PUBLIC layalign_torch PRIVATE nlohmann_json::nlohmann_json)
target_precompile_headers(layalign_torch_pch PRIVATE <ATen/ATen.h> <nlohmann/json.hpp>)
