# `cmake --install`: the headers, the libraries, what CMake and pkg-config need to find them, the license, and the
# program with its manual page. The installed tree may be moved.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fusedopt)

install(FILES include/fusedopt.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS fusedopt fusedopt_shared EXPORT fusedopt-targets
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT fusedopt-targets NAMESPACE fusedopt:: DESTINATION ${package_dir})

# -L and -l for what has a path, so that a linker that finds it elsewhere does.
function(fusedopt_flags_of variable)
  set(flags)
  foreach(library ${ARGN})
    if(IS_ABSOLUTE "${library}")
      get_filename_component(directory "${library}" DIRECTORY)
      get_filename_component(library "${library}" NAME_WE)
      string(REGEX REPLACE "^lib" "" library "${library}")
      string(APPEND flags " -L${directory}")
    endif()
    string(APPEND flags " -l${library}")
  endforeach()
  string(STRIP "${flags}" flags)
  set(${variable} "${flags}" PARENT_SCOPE)
endfunction()
fusedopt_flags_of(libs_private ${static_dependencies})
file(RELATIVE_PATH prefix_from_pkgconfig "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" prefix_from_pkgconfig "${prefix_from_pkgconfig}")

configure_file(host/package/fusedopt.pc.in fusedopt.pc @ONLY)
configure_file(host/package/fusedopt-config.cmake.in fusedopt-config.cmake @ONLY)
write_basic_package_version_file(fusedopt-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fusedopt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/fusedopt-config.cmake ${PROJECT_BINARY_DIR}/fusedopt-config-version.cmake
  DESTINATION ${package_dir})
if(TARGET fusedopt_checkpoint)
  # Each finds the other, wherever the tree is moved.
  set_target_properties(fusedopt_checkpoint_shared PROPERTIES INSTALL_RPATH "$ORIGIN")
  install(FILES include/fusedopt_checkpoint.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(TARGETS fusedopt_checkpoint fusedopt_checkpoint_shared EXPORT fusedopt-checkpoint-targets
    INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  install(EXPORT fusedopt-checkpoint-targets NAMESPACE fusedopt:: DESTINATION ${package_dir})
  fusedopt_flags_of(checkpoint_libs_private ${FUSEDOPT_JANSSON_LIBRARY})
  configure_file(host/package/fusedopt_checkpoint.pc.in fusedopt_checkpoint.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/fusedopt_checkpoint.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endif()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# ---- the Python package ----

# A wheel's build (pyproject.toml) installs this alone: the library beside the package's files, under one name.
if(SKBUILD)
  install(FILES $<TARGET_FILE:fusedopt_shared> DESTINATION fusedopt RENAME libfusedopt.so COMPONENT python)
endif()

# ---- the program ----

# Optional: whoever builds the library alone in a tree that could build more installs that.
if(TARGET fusedopt_program)
  if(TARGET CUDA::cublas)
    # Where cuBLAS is; the loader may not look there.
    set_target_properties(fusedopt_program PROPERTIES INSTALL_RPATH "${CUDAToolkit_LIBRARY_DIR}")
  endif()
  install(TARGETS fusedopt_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} OPTIONAL)
  if(NOT CMAKE_CROSSCOMPILING)
    set(man_page ${PROJECT_BINARY_DIR}/fusedopt.1)
    set(man_sources ${PROJECT_SOURCE_DIR}/host/package/man.sh ${PROJECT_SOURCE_DIR}/host/package/man.awk)
    add_custom_command(OUTPUT ${man_page}
      COMMAND sh ${PROJECT_SOURCE_DIR}/host/package/man.sh $<TARGET_FILE:fusedopt_program> ${man_page}
      DEPENDS fusedopt_program ${man_sources} COMMENT "Writing the manual page fusedopt.1" VERBATIM)
    add_custom_target(fusedopt_man ALL DEPENDS ${man_page})
    install(FILES ${man_page} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
  endif()
endif()

# ---- the loader ----

install(CODE "set(libdir \"${CMAKE_INSTALL_LIBDIR}\")")
install(SCRIPT host/package/loader.cmake)
