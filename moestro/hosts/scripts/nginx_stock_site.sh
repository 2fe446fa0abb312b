# Switches the distribution's own nginx off where all that it serves is the untouched welcome page.
# Anything else there is somebody's: it is left alone. Prints "off" or "kept".
kept() { echo kept; exit 0; }
[ "$(ls -A /etc/nginx/sites-enabled 2> /dev/null)" = default ] || kept
[ -z "$(ls -A /etc/nginx/conf.d 2> /dev/null)" ] || kept
[ "$(readlink -f /etc/nginx/sites-enabled/default)" = /etc/nginx/sites-available/default ] || kept
for file in sites-available/default nginx.conf; do
  shipped=$(dpkg-query -W -f '${Conffiles}\n' 'nginx*' 2> /dev/null | sed -n "s|^ /etc/nginx/$file ||p" | head -n 1)
  [ "$(md5sum < "/etc/nginx/$file" | cut -d ' ' -f 1)" = "${shipped%% *}" ] || kept
done
[ -z "$(find /var/www/html -type f ! -name 'index.nginx-debian.html' -print -quit 2> /dev/null)" ] || kept
rm -f /etc/nginx/sites-enabled/default
systemctl disable --quiet --now nginx.service
echo off
