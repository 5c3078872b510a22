# `cmake --install`: the header, both libraries, and what CMake and pkg-config need to find them. The installed tree may
# be moved.

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
set(libs_private)
foreach(library ${static_dependencies})
  if(IS_ABSOLUTE "${library}")
    get_filename_component(directory "${library}" DIRECTORY)
    get_filename_component(library "${library}" NAME_WE)
    string(REGEX REPLACE "^lib" "" library "${library}")
    string(APPEND libs_private " -L${directory}")
  endif()
  string(APPEND libs_private " -l${library}")
endforeach()
string(STRIP "${libs_private}" libs_private)
file(RELATIVE_PATH prefix_from_pkgconfig "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" prefix_from_pkgconfig "${prefix_from_pkgconfig}")

configure_file(host/package/fusedopt.pc.in fusedopt.pc @ONLY)
configure_file(host/package/fusedopt-config.cmake.in fusedopt-config.cmake @ONLY)
write_basic_package_version_file(fusedopt-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fusedopt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_BINARY_DIR}/fusedopt-config.cmake ${PROJECT_BINARY_DIR}/fusedopt-config-version.cmake
  DESTINATION ${package_dir})
